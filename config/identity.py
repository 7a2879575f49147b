"""What makes a run that run: the fields that decide its result, by which its folder is named."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

from blake3 import blake3
from pydantic import AfterValidator, BaseModel

_LONGEST = 200  # bytes; a file's name has 255, and the hash and an ending come behind

# What cannot change a bit of the result, nor what the run's files say of it: place, pace, and what is printed and kept.
_LEFT_OUT: dict[str, Any] = {
    "output": True,
    "log_every": True,
    "metrics": True,
    "checkpoints_kept": True,
    "chain_every": True,
    "servers": True,
    "aggregator": {"threads"},
    "transport": {"channel", "listen", "poll", "start_deadline", "p_min", "absence", "relay"},
}


def identity_of(fields: dict[str, Any]) -> str:
    """SHA-256 of the fields that decide the result, see `deciding`, its first 12 hexadecimal digits."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:12]


def deciding(config: BaseModel, quarantines: bool) -> dict[str, Any]:
    """All fields that decide the result, those of sections within them.

    Left out are `output`, `log_every`, `metrics`, `checkpoints_kept`, `chain_every`, `servers`, `aggregator.threads`,
    what `transport` says of channel, start, absence, relay and pace, and, without quarantine, `checkpoint_every`; with
    quarantine a checkpoint closes the accounts of the steps before it, which may convict earlier. `eval_every` and
    `compression` change no weight but metrics and bytes, which are results too, and stay in. Of `init` the file's
    content counts, not its name.
    """
    left_out = dict(_LEFT_OUT)
    if not quarantines:
        left_out["checkpoint_every"] = True
    fields = config.model_dump(mode="json", exclude=left_out)
    if fields["init"] is not None:
        fields["init"] = _content(Path(fields["init"]).expanduser()) or fields["init"]
    return fields


def _content(path: Path) -> str:
    """BLAKE3 of a file; empty where it cannot be read."""
    try:
        return blake3().update_mmap(path).hexdigest()
    except OSError:
        return ""


def is_name(text: str) -> bool:
    """Whether a run's folder can be named so: within `output`, printable, and no option or hidden file."""
    return (
        text.isprintable()
        and text == text.strip()
        and "/" not in text
        and text[:1] not in ("", ".", "-")
        and len(text.encode(errors="replace")) <= _LONGEST
    )


def _checked_name(name: str) -> str:
    if not is_name(name):
        raise ValueError(
            f"a folder is named by it: printable, no /, neither . nor - at the start, at most {_LONGEST} bytes"
        )
    return name


def _checked_output(output: str) -> str:
    if not output.isprintable():
        raise ValueError("it has characters that cannot be printed")
    try:
        Path(output).expanduser()
    except RuntimeError as error:  # ~somebody who does not exist
        raise ValueError(str(error)) from None
    return output


RunName = Annotated[str, AfterValidator(_checked_name)]
Output = Annotated[str, AfterValidator(_checked_output)]
