"""Launch: a module in several processes by torchrun, none of which outlives whoever asked.

``launch`` is the asking side. Run as a module this file is torchrun itself, which besides writes
down which rank failed first: `python -m nexus_pipeline.steps.launch REPORT TORCHRUN_WORDS...`.
"""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nexus_model.schema import Record, TrainingError

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

# Machines of a group: words for torchrun in place of --standalone.
WORDS = "NEXUS_TORCHRUN"
# torchrun gives its ranks 30 s to end before it kills them.
ENDS_S = 40.0
LOOKS_S = 0.5


class RankFailure(Record):
    """The rank that failed first, its exit code (below 0: minus a signal), and what it said."""

    rank: int
    exit_code: int
    message: str

    @property
    def told(self) -> str:
        """In words.

        >>> RankFailure(rank=1, exit_code=-9, message="Signal 9 (SIGKILL)").told
        'rank 1 was ended by SIGKILL; the system does that when memory runs out'
        """
        if self.exit_code >= 0:
            return f"rank {self.rank}: {self.message}"
        name = signal.Signals(-self.exit_code).name
        why = "; the system does that when memory runs out" if name == "SIGKILL" else ""
        return f"rank {self.rank} was ended by {name}{why}"


def launch(module: str, words: Sequence[str], processes: int, tell: Callable[[str], None]) -> None:
    """Run ``python -m module words`` as so many ranks; ``tell`` gets every line of their output.

    The environment passes through; threads are divided among the ranks. With NEXUS_TORCHRUN set,
    its words for torchrun say which machines belong together.

    Raises:
        TrainingError: a rank failed; the others have ended too.
    """
    group = shlex.split(os.environ.get(WORDS, "--standalone"))
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "failure.json"
        command = [
            sys.executable, "-m", "nexus_pipeline.steps.launch", str(report),
            *group, "--nproc-per-node", str(processes), "-m", module, *words,
        ]  # fmt: skip
        process = subprocess.Popen(  # noqa: S603 - our own words, and those of who runs us
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(processes),
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            for line in process.stdout or ():
                tell(line.rstrip("\n"))
            code = process.wait()
        finally:
            _end(process)
        if report.is_file():
            failure = RankFailure.model_validate_json(report.read_text(encoding="utf-8"))
            raise TrainingError(failure.told)
        if code:
            raise TrainingError(f"torchrun ended with exit code {code}")


def threads_each(processes: int) -> int:
    """Threads of a rank, so that all of them together have those of one process."""
    return max(1, int(os.environ.get("OMP_NUM_THREADS") or cores()) // processes)


def cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _environment(processes: int) -> dict[str, str]:
    return {
        # Connections that are made, and weights a batch leaves idle, are no news.
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        **os.environ,
        "OMP_NUM_THREADS": str(threads_each(processes)),
        "PYTHONUNBUFFERED": "1",
    }


def _end(process: "subprocess.Popen[str]") -> None:
    """SIGTERM, which torchrun hands on, and SIGKILL to a torchrun that does not end."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(ENDS_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


def end_with_parent() -> None:
    """End this process by SIGTERM once the one that started it is gone, however that went."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOKS_S)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def main() -> int:
    """Be torchrun; 1 if a rank failed, and the report says which."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    report, *words = sys.argv[1:]
    end_with_parent()
    try:
        torchrun(words)
    except ChildFailedError as error:
        rank, failure = min(error.failures.items(), key=_was_first)
        message = (
            failure.message if isinstance(failure.message, str) else failure.message["message"]
        )
        told = RankFailure(rank=rank, exit_code=failure.exitcode, message=message)
        Path(report).write_text(told.model_dump_json(), encoding="utf-8")
        return 1
    except SignalException as ended:
        return 128 + int(ended.sigval)
    return 0


def _was_first(failed: "tuple[int, ProcessFailure]") -> tuple[bool, int]:
    """A rank that was killed came before those that miss it, though they may be heard earlier."""
    _, failure = failed
    killed = failure.exitcode < 0 and failure.exitcode != -signal.SIGTERM
    return not killed, failure.timestamp


if __name__ == "__main__":
    sys.exit(main())
