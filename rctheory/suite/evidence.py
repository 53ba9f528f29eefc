"""`evidence.json`: the environment and the record of every claim of a run."""

import json
from dataclasses import dataclass
from pathlib import Path

from rctheory.errors import EvidenceError
from rctheory.suite.codec import REMEDY, decode, dump_json, write_atomically
from rctheory.suite.record import ClaimRecord, Environment, Status

SCHEMA = "rctheory.evidence/1"
FILE_NAME = "evidence.json"


@dataclass(frozen=True)
class Evidence:
    """A run, ready to be written and to be reported."""

    schema: str
    environment: Environment
    claims: tuple[ClaimRecord, ...]

    @property
    def exit_code(self) -> int:
        """Return 0 when all is supported and every control was caught, 3 when something is inconclusive, else 1."""
        states = {record.status for record in self.claims}
        missed = any(record.missed_controls for record in self.claims)
        if missed or not self.claims or states & {Status.REFUTED, Status.ERROR, Status.NOT_RUN}:
            return 1
        return 3 if Status.INCONCLUSIVE in states else 0


def save_evidence(path: Path, evidence: Evidence) -> None:
    """Write the evidence as strict JSON, in one move."""
    write_atomically(path, dump_json(evidence))


def load_evidence(path: Path) -> Evidence:
    """Read and validate an evidence file; a folder stands for the `evidence.json` in it.

    Raises:
        EvidenceError: no such file, no JSON, another schema, or a value that contradicts the schema.
    """
    file = path / FILE_NAME if path.is_dir() else path
    try:
        data = json.loads(file.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except OSError:
        raise EvidenceError(f"no evidence at {path}", f"a folder with {FILE_NAME}", "run rctheory verify") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise EvidenceError(f"{file} does not parse: {error}", "the JSON of a run", REMEDY) from None
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise EvidenceError(f"{file} has the schema {schema!r}", SCHEMA, REMEDY)
    return decode(Evidence, data, file.name)


def _refuse_constant(token: str) -> float:
    raise EvidenceError(f"the token {token} in the evidence", "strict JSON, non-finite numbers as strings", REMEDY)
