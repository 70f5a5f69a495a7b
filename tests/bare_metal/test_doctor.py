"""The doctor passes on a host that was set up by the guide, also with `push-idle`, which watches a silent
socket for 70 s.
"""

from __future__ import annotations

import pytest

from bare_metal.machine import Machine
from harness.doctor import bad, findings
from harness.waiting import wait_until


@pytest.mark.timeout(300, func_only=True)
def test_the_doctor_passes_after_the_guide(machine: Machine) -> None:
    wait_until(machine.healthy, 60, "Daphne healthy")
    done = machine.exec(
        "venv/bin/python", "app/manage.py", "doctor", machine.url + "/",
        "--at", "127.0.0.1:80", "--patient", "--json",
    )  # fmt: skip
    found = findings(done.output)
    assert bad(found) == []
    assert done.code == 0
    (idle,) = [one for one in found if one["check"] == "push-idle"]
    assert idle["message"].startswith("an idle socket lives for 70 s")
