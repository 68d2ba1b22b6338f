"""What the Hub's client raises, as errors of ours in one line.

The client's own messages run over several lines, quote what a server says as it comes,
and tell nobody what to do.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lora_qd.errors import InputError, LoraQDError, StoreError

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

LOG_IN = "log in with: hf auth login"
_MOST_CHARACTERS = 200
_ANY_REFUSAL = ("the Hub refuses it", "mend what it names")
_REFUSALS = {
    401: ("the Hub does not know this login", LOG_IN),
    402: ("the account's storage is used up", "free or buy some, then repeat"),
    403: ("the Hub refuses this login", f"check its rights, or {LOG_IN}"),
    409: ("it is in use or exists already", "repeat, or choose another name"),
    412: ("somebody else changed it meanwhile", "repeat"),
    413: ("it is too large for the Hub", "share fewer members"),
}
"""What a status means, and what to do about it."""


@contextmanager
def hub_failures(attempt: str, *, again: str = "try again later") -> Iterator[None]:
    """Turn whatever the client raises inside the block into an error of one line.

    Args:
        attempt: what is tried, to follow "expected": ``to push to owner/name``.
        again: what to do once the Hub, the network or the disk is well.

    Raises:
        InputError: the Hub refuses what was asked.
        StoreError: Hub, network or disk fail.
    """
    from huggingface_hub import errors

    try:
        yield
    except LoraQDError:
        raise
    except errors.HFValidationError as error:
        raise InputError(
            f"expected {attempt}, but the Hub does not allow that name: "
            f"{one_line(str(error))}; pass owner/name"
        ) from error
    except errors.HfHubHTTPError as error:
        raise refusal(error, attempt, again) from error
    except errors.LocalTokenNotFoundError as error:
        raise InputError(
            f"expected {attempt}, but nobody is logged in; {LOG_IN}"
        ) from error
    except no_answer() as error:
        raise outage(error, attempt, again) from error
    except RuntimeError as error:  # how the client wraps what fails in its threads
        cause = error.__cause__
        if isinstance(cause, errors.HfHubHTTPError):
            raise refusal(cause, attempt, again) from error
        if isinstance(cause, no_answer()):
            raise outage(cause, attempt, again) from error
        raise
    except ValueError as error:  # an answer that the client cannot read
        raise StoreError(
            f"expected {attempt}, but the Hub answers: {one_line(str(error))}; {again}"
        ) from error


@contextmanager
def plain_transfers() -> Iterator[None]:
    """Keep the client from Xet, whose failures hide what the Hub says."""
    from huggingface_hub import constants

    was_disabled = constants.HF_HUB_DISABLE_XET
    try:
        constants.HF_HUB_DISABLE_XET = True
        yield
    finally:
        constants.HF_HUB_DISABLE_XET = was_disabled


def no_answer() -> tuple[type[Exception], ...]:
    """Return what the client raises when Hub, network or disk do not do their part."""
    from huggingface_hub import errors

    # The base of all errors of httpx or httpx2, whichever the client uses.
    transport: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]
    return transport, OSError


def refusal(error: "HfHubHTTPError", attempt: str, again: str) -> LoraQDError:
    """Return our error for an answer of the Hub that is a refusal."""
    from huggingface_hub import errors

    status = error.response.status_code
    said = one_line(getattr(error, "server_message", None) or "")
    because = f": {said}" if said else ""
    if isinstance(error, errors.GatedRepoError):
        fact = f"it is gated; ask for access on its page, then {LOG_IN}"
    elif isinstance(error, errors.RepositoryNotFoundError):
        fact = "there is no such repository, or a private one; check the name, or "
        fact += LOG_IN
    elif isinstance(error, errors.RevisionNotFoundError):
        fact = "it has no such revision; pass a branch, tag or commit of it"
    elif status == 429:
        fact = f"the Hub takes no more requests for now{because}; wait "
        fact += f"{_patience(error)}, then repeat"
        return StoreError(f"expected {attempt}, but {fact}")
    elif status >= 500:
        fact = f"the Hub answers with status {status}{because}; {again}"
        return StoreError(f"expected {attempt}, but {fact}")
    else:
        reason, remedy = _REFUSALS.get(status, _ANY_REFUSAL)
        fact = f"{reason} ({status}){because}; {remedy}"
    return InputError(f"expected {attempt}, but {fact}")


def outage(error: Exception, attempt: str, again: str) -> StoreError:
    """Return our error for a network or a disk that fails."""
    from huggingface_hub import constants

    if is_local(error):
        return StoreError(
            f"expected {attempt}, but got: {one_line(str(error))}; free space or "
            f"change permissions (its cache is {constants.HF_HUB_CACHE}), then {again}"
        )
    if constants.HF_HUB_OFFLINE:
        return StoreError(
            f"expected {attempt}, but HF_HUB_OFFLINE is set; unset it, then repeat"
        )
    return StoreError(
        f"expected {attempt}, but the Hub does not answer "
        f"({type(error).__name__}); check the network, then {again}"
    )


def is_local(error: Exception) -> bool:
    """Tell whether it was this machine's disk that failed, and not the network."""
    is_network = isinstance(error, ConnectionError | TimeoutError)
    return isinstance(error, OSError) and error.errno is not None and not is_network


def one_line(text: str) -> str:
    """Return ``text`` from somewhere else, fit to stand in a line of ours."""
    plain = re.sub(r"[^\x20-\x7e\u00a0-\ud7ff\uf900-\uffef]+", " ", text)
    plain = " ".join(plain.split())
    cut = len(plain) > _MOST_CHARACTERS
    return f"{plain[:_MOST_CHARACTERS].rstrip()} ..." if cut else plain.rstrip(".")


def _patience(error: "HfHubHTTPError") -> str:
    value = error.response.headers.get("Retry-After", "")
    return f"{value} s" if value.isdecimal() else "some minutes"
