import signal
import subprocess
import sys
from pathlib import Path

import pytest

from denoise.__main__ import main as begin
from denoise.cli import main

WRITES = """
import signal, sys, time
from pathlib import Path
from denoise.media.atomic import appearing
from denoise.signals import end_cleanly

for ending in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(ending, signal.SIG_DFL)  # whoever runs the tests may ignore them
end_cleanly()
with appearing(Path(sys.argv[1])):
    print("begun", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing_half_written(tmp_path: Path, signum: signal.Signals) -> None:
    command = [sys.executable, "-c", WRITES, str(tmp_path / "out.png")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline() == b"begun\n"
        assert len(list(tmp_path.iterdir())) == 1
        child.send_signal(signum)
        assert child.wait(60) == 128 + signum
    assert not list(tmp_path.iterdir())


def test_it_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("denoise.cli.end_cleanly", lambda: None)
    monkeypatch.setattr("denoise.cli.app", lambda: sys.exit(143))
    with pytest.raises(SystemExit, match="143"):
        main()
    assert "stopped; finished files are complete" in capsys.readouterr().err


def test_ctrl_c_while_the_command_is_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "denoise.cli":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "denoise.cli")
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    with pytest.raises(SystemExit, match="130"):
        begin()
    assert not capsys.readouterr().err
