"""`experiments.faults` in short: nothing that is damaged passes unseen, nothing is lost."""

import json
import signal

import pytest
from helpers import run_fit
from test_stops import at_step

import vae_jax
from experiments import command, fault_disks, fault_files, fault_inputs, fault_kills, faults
from experiments.fault_report import Outcome, markdown
from vae_jax import run_folder

pytestmark = [
    pytest.mark.usefixtures("compiled_once"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning"),
]


def assert_none_bad(outcomes):
    assert outcomes
    for outcome in outcomes:
        assert outcome.bad == 0, outcome


def test_flips_and_cuts_are_seen_or_harmless(tmp_path):
    """In checkpoints, config.json, metrics.csv and data files of five formats."""
    found = fault_files.damage(tmp_path / "files", 60, 25, seed=1)
    assert [outcome.tried for outcome in found] == [60, 25]
    assert_none_bad(found)


def test_malformed_inputs_are_refused_in_words(tmp_path):
    """ValueError, TypeError or OSError, in time, and no file appears."""
    assert_none_bad(fault_inputs.malformed(tmp_path / "inputs", 300, seed=1))


@pytest.mark.slow
def test_many_malformed_inputs(tmp_path):
    """The same, 20,000 times."""
    assert_none_bad(fault_inputs.malformed(tmp_path / "inputs", 20_000, seed=2))


@pytest.mark.slow
def test_killed_runs_end_in_the_same_bits(tmp_path):
    """Twelve SIGKILLs over runs and sweeps."""
    assert_none_bad(fault_kills.kill_runs(tmp_path / "kills", 12, seed=1))


@pytest.mark.slow
def test_every_write_may_fail(tmp_path):
    """Once or for good, for lack of room or of the right to write; and clocks may leap."""
    assert_none_bad(fault_disks.fail_writes(tmp_path / "disks"))


def test_a_checksum_sees_a_changed_digit_of_a_config(copied):
    """A setting changed by hand is refused, and so is format 1 where it was 2."""
    config = json.loads((copied / "config.json").read_text())
    for change in ({"beta": 1.5}, {"format": 1}, {"sha256": "0" * 64}, {"sha256": None}):
        (copied / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(ValueError, match="damaged, or was changed by hand"):
            run_folder.read_config(copied)
    (copied / "config.json").write_text(json.dumps(config, indent=7, sort_keys=True))
    assert run_folder.read_config(copied)["beta"] == 1.0


def test_a_changed_digit_of_the_metrics_is_seen_on_resuming(copied, tiny):
    """The checkpoint knows the bytes that led to it."""
    path = copied / "metrics.csv"
    text = path.read_text()
    place = text.index(".") + 1
    path.write_text(text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :])
    with pytest.raises(ValueError, match=r"metrics.csv is damaged: its first 25 rows"):
        run_fit(tiny, 30, run_dir=copied, resume=True, settings={"rate": 0.01})


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [(signal.SIGINT, 130, "Interrupted after step 20"), (signal.SIGTERM, 143, "SIGTERM")],
)
def test_a_signal_has_its_exit_code(tiny, tmp_path, capsys, monkeypatch, number, code, words):
    """Ctrl-C 130, SIGTERM 143; the chunk is finished and saved, and the command that goes on is
    printed."""

    def main(settings):
        run_fit(
            tiny, 30, run_dir=tmp_path, on_chunk=at_step(20, lambda: signal.raise_signal(number))
        )

    main.__module__ = faults.__name__
    before = signal.getsignal(number)
    monkeypatch.setattr(command.tyro, "cli", lambda settings, **options: None)
    with pytest.raises(SystemExit) as ended:
        command.run(main, object)
    assert ended.value.code == code
    assert words in (said := capsys.readouterr().err)
    assert "--resume" in said
    assert signal.getsignal(number) is before
    assert int(run_fit(tiny, 30, run_dir=tmp_path, resume=True).state.step) == 30


def test_a_second_sigterm_stops_at_once(tiny, tmp_path):
    """SystemExit 143, without waiting for a chunk to be saved."""

    def twice():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit) as ended:
        run_fit(tiny, 30, run_dir=tmp_path, on_chunk=at_step(10, twice))
    assert ended.value.code == 143
    assert "run.lock" not in [path.name for path in tmp_path.iterdir()]


def test_the_table_says_what_was_bad():
    """A row for each outcome; examples only of failures."""
    text = markdown([Outcome("a", 1000, "fine", 0, "hidden"), Outcome("b", 2, "x", 1, "why")])
    assert "| a | 1,000 | fine | 0 |" in text
    assert "hidden" not in text
    assert "x BAD: why | 1 |" in text
    assert vae_jax.Interrupted(3, None, signal.SIGTERM).code == 143
