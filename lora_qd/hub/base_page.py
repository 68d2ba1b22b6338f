"""What the Hub says of a base model's licence: its id, and the texts that go along."""

from dataclasses import replace
from pathlib import Path

from lora_qd.hub.licences import LicenceOptions, is_licence_text
from lora_qd.store.hub_failures import hub_failures
from lora_qd.store.telemetry import no_telemetry

_TIMEOUT_S = 10.0
_MOST_BYTES = 1_000_000


def with_base_page(options: LicenceOptions, model: str) -> LicenceOptions:
    """Return ``options`` with what the page of the base ``model`` adds.

    Raises:
        InputError: the Hub shows no such model to this login.
        StoreError: the Hub cannot be reached.
    """
    from huggingface_hub import HfApi, hf_hub_download

    with no_telemetry(), hub_failures(f"the page of the base {model} on the Hub"):
        info = HfApi().model_info(model, timeout=_TIMEOUT_S, files_metadata=True)
        card = dict(info.card_data.__dict__) if info.card_data else {}
        texts = {
            sibling.rfilename: Path(
                hf_hub_download(model, sibling.rfilename, revision=info.sha)
            ).read_bytes()
            for sibling in info.siblings or ()
            if is_licence_text(sibling.rfilename) and (sibling.size or 0) <= _MOST_BYTES
        }
    licence = card.get("license")
    if licence == "other":
        licence = card.get("license_name", licence)
    return replace(
        options,
        hub_licence=licence if isinstance(licence, str) else None,
        hub_texts=texts,
    )
