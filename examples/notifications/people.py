"""The audience of the example: everybody in ``recipients.csv``, every type of notification, every channel."""

import csv
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from .models import Channel, Notification
from .texts import types

RECIPIENTS = Path(__file__).parent / "recipients.csv"


def notifications(count: int) -> Iterator[Notification]:
    """Yield ``count`` notifications, channels in turn; the same for every run but for their ids."""
    with RECIPIENTS.open(encoding="utf-8", newline="") as file:
        people = list(csv.DictReader(file))
    kinds, channels = types(), list(Channel)
    for number in range(count):
        turn, person = divmod(number // len(channels), len(people))
        yield _notification(number, people[person], kinds[turn % len(kinds)], channels[number % len(channels)])


def _notification(number: int, person: dict[str, str], kind: str, channel: Channel) -> Notification:
    addresses = {
        Channel.EMAIL: f"{person['name']} <{person['email']}>",
        Channel.SMS: person["phone"],
        Channel.PUSH: person["device_token"],
        Channel.IN_APP: person["user_id"],
    }
    return Notification(
        id=uuid4().hex,
        user_id=person["user_id"],
        notification_type_id=kind,
        channel=channel,
        to=addresses[channel],
        data={
            "name": person["name"],
            "firm": person["firm"],
            "number": f"{2024000 + number}",
            "link": f"https://clients.example.com/{kind}/{2024000 + number}",
        },
    )
