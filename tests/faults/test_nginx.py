"""nginx loses a worker process, and reloads its configuration."""

from __future__ import annotations

from faults.outcome import Outcome
from faults.trial import Trial
from harness.baseline import Baseline
from harness.client.ledger import Ended
from harness.stack import Stack
from harness.waiting import wait_until

WORKERS = """
for place in /proc/[0-9]*; do
    [[ $(tr '\\0' ' ' 2>/dev/null <"$place/cmdline") != "nginx: worker process"* ]] || echo "${place#/proc/}"
done
"""
OLD_WORKERS_END = 25.0  # seconds; worker_shutdown_timeout is 15 s


def workers(stack: Stack) -> set[str]:
    """The process ids of nginx's workers."""
    done = stack.service("nginx").exec("bash", "-c", WORKERS)
    return set(done.output.split())


def test_a_worker_process_is_killed(standing: Stack, baseline: Baseline, outcome: Outcome) -> None:
    outcome.describe("an nginx worker process killed", "Its connections break, and the clients reconnect.")
    with Trial(standing, outcome) as trial:
        before = workers(standing)
        victim = max(before, key=int)
        assert standing.service("nginx").exec("bash", "-c", f"kill -KILL {victim}").code == 0
        wait_until(lambda: len(workers(standing) - {victim}) == len(before), 5, "another worker")
        trial.over()
    trial.closes(baseline)


def test_its_configuration_is_read_anew(standing: Stack, baseline: Baseline, outcome: Outcome) -> None:
    outcome.describe(
        "nginx -s reload",
        "Sockets break after 15 s, and the clients reconnect; no request fails.",
    )
    with Trial(standing, outcome) as trial:
        before = workers(standing)
        assert standing.service("nginx").exec("nginx", "-s", "reload").code == 0
        trial.over()
        wait_until(
            lambda: not before & workers(standing), OLD_WORKERS_END, "the end of the old workers", every=0.5
        )
        trial.over()
    trial.closes(baseline)
    trial.answered()
    cut = [
        page
        for page in trial.staying
        if any(isinstance(e, Ended) and e.code != 1000 for e in page.ledger.entries)
    ]
    assert cut, "no client was on an old worker"
