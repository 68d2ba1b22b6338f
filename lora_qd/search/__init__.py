"""Ask/tell searchers over the core space. Know no engine, task code or disk."""

from lora_qd.search.archives import Archives
from lora_qd.search.breeding import Breeder
from lora_qd.search.cycleqd import CycleQD
from lora_qd.search.searcher import Searcher
from lora_qd.search.settings import CycleQDSettings

__all__ = ["Archives", "Breeder", "CycleQD", "CycleQDSettings", "Searcher"]
