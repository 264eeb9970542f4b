"""Rules, calls and advice through the whole chain in virtual time: from a message in a room to what people there are shown."""

import json
from pathlib import Path

import pytest

from firmware.core.advice import SIGNED_PREFIX, advisory_unpacked, feedback_unpacked
from firmware.core.durable import replace
from firmware.core.signature import is_signed_by
from firmware.hub.affairs import feedback, firings
from firmware.hub.repository import Repository
from simulator.asker import SimulatedAsker
from simulator.fleet import SmallFleet

RULES = """
[[rule]]
name = "tool-often-fails"
when = "event=tool-failure"
count = 2
within_s = 3600
then = ["call", "retrieve", "advise"]
advice = "replace-tool"
text = "Twice in an hour."
around_s = 5
"""


def policy(fleet: SmallFleet, text: str = RULES) -> None:
    """An administrator has set it."""
    replace(fleet.hub.disk, "policy", "rules.toml", text.encode())
    fleet.run(3)


def test_a_rule_fires_and_everything_follows(tmp_path: Path) -> None:
    """The second failure of a tool in an hour: a service call is open, the frames around it are at the hub, and the advice is
    shown on the box, published in the room where the site wants that, and answered; all of it once, joined to the message that
    caused it. What the analysis leads to is advice: a person changes the robot, not this product. (S2-121, S2-122, S2-124, S2-125)"""
    fleet = SmallFleet(tmp_path, box="[feedback]\npublish = true\n")
    heard: list[tuple[bytes, int]] = []
    fleet.box.make_asker = lambda interface: SimulatedAsker(
        fleet.box.clock, lambda data, address, port: heard.append((data, port))
    )
    fleet.box.kill("feedback")  # It begins anew, with an interface we hear.
    policy(fleet)
    fleet.chatter(8)
    fleet.say("joint 2 stopped", priority=1, event="tool-failure")
    fleet.chatter(4)
    assert [] == fleet.rows("select 1 from firings")

    fleet.say("joint 2 stopped again", priority=1, event="tool-failure")
    fleet.chatter(12)
    (cause,) = fleet.rows("select identity from messages where text = 'joint 2 stopped again'")
    (firing,) = fleet.rows("select * from firings")
    assert (cause["identity"], "done", 2) == (firing["cause"], firing["state"], firing["times"])
    assert [("tool-often-fails", "open")] == [(row["rule"], row["state"]) for row in fleet.rows("select * from calls")]
    states = {row["deed"]: row for row in fleet.rows("select * from commands")}
    assert ("done", "done", "shown: box and room") == (
        states["retrieval"]["state"],
        states["feedback"]["state"],
        states["feedback"]["detail"],
    )
    assert {cause["identity"]} == {row["about"] for row in states.values()}

    assert {47005} == {port for _, port in heard}
    signed, signature = feedback_unpacked(heard[0][0])
    assert is_signed_by(fleet.box.identity.public_key(), signature, SIGNED_PREFIX + signed)
    advisory = advisory_unpacked(signed)
    assert (
        "Advisory (10.77.0.11): a person should consider replacing the tool. Reason given: “Twice in an hour.”."
        == advisory.sentence
    )
    assert 1 == len(fleet.box.disk.list("feedback"))
    assert [] == fleet.crashes()

    repository = Repository(fleet.database)
    assert ["done"] == [row["state"] for row in feedback(repository, tai_offset_s=37)]
    assert [cause["identity"].hex()] == [row["cause"] for row in firings(repository, tai_offset_s=37)]
    repository.close()


def test_rules_that_cannot_be_used_change_nothing(tmp_path: Path) -> None:
    """A file with a mistake in it: the former rules stay, and the hub says what is wrong with it."""
    fleet = SmallFleet(tmp_path)
    policy(fleet)
    policy(fleet, RULES + "[[rule]]\nname = 3\n")
    for _ in range(2):
        fleet.say("stopped", priority=1, event="tool-failure")
        fleet.run(3)

    assert 1 == len(fleet.rows("select 1 from firings"))
    figures = json.loads(fleet.hub.disk.read("state/hub.json"))["stations"]["hub"]
    assert "rule 2: expected name" in figures["gauges"]["rules_trouble"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_power_goes_at_the_hub_and_at_the_box(tmp_path: Path, seed: int) -> None:
    """While a rule fires, is carried out, the advice is on its way or shown: in the end each firing was done, the call is there
    once, and the advice is shown and answered. (S2-122, S2-124)"""
    fleet = SmallFleet(tmp_path, seed=seed)
    policy(fleet, RULES.replace("count = 2", "count = 1\nquiet_s = 0\nper_hour_max = 50"))
    random = fleet.world.random
    for number in range(6):
        machine, path = random.choice(
            ((fleet.hub, ""), (fleet.hub, "outgoing"), (fleet.box, "feedback"), (fleet.box, "commands/verified/feedback"))
        )
        fleet.say(f"stopped {number}", priority=1, event="tool-failure")
        fleet.world.doom(machine, None, random.randrange(6), path=path)
        fleet.run(15)
        fleet.world.forget_doom()
    fleet.run(60)

    said = fleet.rows("select identity from messages where event = 'tool-failure' and kind = 'published'")
    assert len(said) >= 4  # one that was said in the very moment of a cut may not have been heard
    assert {row["identity"] for row in said} == {
        row["cause"] for row in fleet.rows("select cause from firings where state = 'done'")
    }
    assert [len(said)] == [row["times"] for row in fleet.rows("select times from calls")]
    states = [row["state"] for row in fleet.rows("select state from commands where deed = 'feedback'")]
    assert {"done"} == set(states)
    assert len(said) <= len(states)
    assert [] == fleet.crashes()
