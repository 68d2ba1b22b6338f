"""AgentBench's DBBench and OS interaction, several rounds each (Liu et al. 2023)."""

from lora_qd.tasks.agentbench.database import DatabaseTask
from lora_qd.tasks.agentbench.database_settings import DatabaseSettings
from lora_qd.tasks.agentbench.system import SystemTask
from lora_qd.tasks.agentbench.system_settings import SystemSkillSettings

__all__ = ["DatabaseSettings", "DatabaseTask", "SystemSkillSettings", "SystemTask"]
