"""What ends a job whose parameter server has let go of it, or is gone."""

import contextlib
import os
import signal
import subprocess

_PATIENCE = 10  # seconds that a job may go on without its PS, and that MPI_Finalize may take

_GUARD = """
seconds=0
read word && seconds=$(($1 - 1))
while kill -0 $0; do
    sleep 1
    seconds=$((seconds + 1))
    [ $seconds -eq $1 ] && kill -TERM $0
    [ $seconds -gt $((2 * $1)) ] && kill -KILL $0 && exit
done
"""


class Guard:
    """A process that ends the job once the PS has let go of it, or is gone, however it ended: by a signal, os._exit, or
    a hang in MPI_Finalize, which lets neither Python's threads nor its signal handlers run.

    What it ends is the parent of the PS: mpirun, or its daemon on this host.
    """

    def __init__(self) -> None:
        # Away from the output, for whose end mpirun waits.
        nothing = subprocess.DEVNULL
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, str(os.getppid()), str(_PATIENCE)], env={"PATH": os.defpath},
            stdin=subprocess.PIPE, stdout=nothing, stderr=nothing, cwd="/", start_new_session=True,
        )  # fmt: skip

    def let_go(self, at_once: bool = False) -> None:
        """Ends the job in _PATIENCE seconds, unless `dismiss` comes first; or at once, which is when this process has
        ended too, for mpirun returns the first exit status that it has seen."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(b"\n" * at_once)
            self._process.stdin.close()

    def dismiss(self) -> None:
        """Nothing is ended any more."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
