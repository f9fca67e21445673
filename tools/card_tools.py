"""What the agent can do at the bank: each tool's arguments as a class, and the tool as a function of a transaction.

A function returns a JSON-able object for the model, holding only what a support agent needs, or raises Refusal with
one line for the model. It runs inside one transaction, and may run again after a collision: it keeps no state.
"""

from typing import Annotated, Any, Final

import attrs
from msgspec import Meta

from db.door import DELIVERY_ORDER, Card, CardStatus, DeliveryStatus, Refusal, Replacement, Work
from tools.registry import Tool

# PostgreSQL's integer ends there; the lower end is the first id.
Id = Annotated[int, Meta(ge=1, le=2_147_483_647)]


@attrs.frozen
class DisplayUserInfo:
    user_id: Annotated[Id, Meta(description="The customer's id, a whole number.")]


@attrs.frozen
class DisplayCardInfoByLast4:
    last4: Annotated[
        str, Meta(description="The last four digits of the card, as four characters.", pattern="^[0-9]{4}$")
    ]


@attrs.frozen
class ChangeCardStatus:
    card_id: Annotated[Id, Meta(description="The card's id, a whole number, from display_card_info_by_last4.")]
    new_status: Annotated[
        CardStatus,
        Meta(description="active lets the card be used, frozen stops it for now, cancelled stops it for good."),
    ]


@attrs.frozen
class RequestCardReplacement:
    card_id: Annotated[Id, Meta(description="The id of the card to replace, a whole number.")]


@attrs.frozen
class UpdateCardReplacementStatus:
    card_id: Annotated[Id, Meta(description="The id of the replaced card, or of the card sent in its place.")]
    new_status: Annotated[DeliveryStatus, Meta(description="How far the delivery has come. It only moves forward.")]


async def display_user_info(work: Work, arguments: DisplayUserInfo) -> Any:
    """The customer and the customer's cards."""
    user = await work.user(arguments.user_id)
    if user is None:
        raise Refusal(f"There is no customer {arguments.user_id}.")
    return {
        "user_id": user.user_id,
        "full_name": user.full_name,
        "phone": user.phone,
        "email": user.email,
        "address": user.address,
        "cards": [_described(card) for card in await work.cards_of(user.user_id)],
    }


async def display_card_info_by_last4(work: Work, arguments: DisplayCardInfoByLast4) -> Any:
    """Every card that ends so, with its holder and its delivery: four digits do not name one card."""
    cards = await work.cards_by_last4(arguments.last4)
    if not cards:
        raise Refusal(f"There is no card ending in {arguments.last4}.")
    described = []
    for card in cards:
        holder = await work.user(card.user_id)
        replacement = _current(await work.replacements_of(card.card_id))
        described.append(
            _described(card)
            | {
                "user_id": card.user_id,
                "full_name": None if holder is None else holder.full_name,
                "replacement": None if replacement is None else _tracked(replacement),
            }
        )
    return {"cards": described}


async def change_card_status(work: Work, arguments: ChangeCardStatus) -> Any:
    """Set a card's status. A cancelled card stays cancelled; the status it has already is no error."""
    card = await _locked(work, arguments.card_id)
    if card.status == "cancelled" and arguments.new_status != "cancelled":
        raise Refusal(f"The card ending in {card.last4} is cancelled for good; it can only be replaced.")
    if card.status != arguments.new_status:
        card = await work.set_card_status(card.card_id, arguments.new_status)
    return _described(card)


async def request_card_replacement(work: Work, arguments: RequestCardReplacement) -> Any:
    """Cancel a card, issue another and start its delivery: all three or none."""
    old = await _locked(work, arguments.card_id)
    for other in await work.lock_replacements_of(old.card_id):
        if other.old_card_id == old.card_id:
            raise Refusal(
                f"The card ending in {old.last4} was already replaced by card {other.new_card_id};"
                f" that delivery is {other.status}."
            )
        if other.status != "delivered":
            raise Refusal(f"The card ending in {old.last4} is itself a replacement and still on its way.")
    if old.status != "cancelled":
        old = await work.set_card_status(old.card_id, "cancelled")
    new = await work.issue_card(old)
    replacement = await work.add_replacement(old, new)
    return {"replacement": _tracked(replacement), "old_card": _described(old), "new_card": _described(new)}


async def update_card_replacement_status(work: Work, arguments: UpdateCardReplacementStatus) -> Any:
    """Move a card's delivery forward. The status it has already is no error."""
    # The card first, as in request_card_replacement: two tools that lock in the same order cannot deadlock.
    card = await _locked(work, arguments.card_id)
    replacement = _current(await work.lock_replacements_of(card.card_id))
    if replacement is None:
        raise Refusal(f"No replacement was requested for the card ending in {card.last4}.")
    if DELIVERY_ORDER.index(arguments.new_status) < DELIVERY_ORDER.index(replacement.status):
        raise Refusal(f"The replacement is {replacement.status} already; it cannot go back to {arguments.new_status}.")
    if replacement.status != arguments.new_status:
        replacement = await work.set_delivery_status(replacement.replacement_id, arguments.new_status)
    return _tracked(replacement)


async def _locked(work: Work, card_id: int) -> Card:
    card = await work.lock_card(card_id)
    if card is None:
        raise Refusal(f"There is no card {card_id}.")
    return card


def _current(replacements: list[Replacement]) -> Replacement | None:
    """The one a customer means: the open one, else the latest."""
    return max(replacements, key=lambda r: (r.status != "delivered", r.replacement_id), default=None)


def _described(card: Card) -> dict[str, Any]:
    return {
        "card_id": card.card_id,
        "last4": card.last4,
        "kind": card.kind,
        "status": card.status,
        "expires": f"{card.expires:%m/%Y}",
    }


def _tracked(replacement: Replacement) -> dict[str, Any]:
    return {
        "replacement_id": replacement.replacement_id,
        "old_card_id": replacement.old_card_id,
        "new_card_id": replacement.new_card_id,
        "status": replacement.status,
        "requested_on": f"{replacement.requested_at:%Y-%m-%d}",
    }


TOOLS: Final = (
    Tool(
        "display_user_info",
        "Show a customer's name, contact details and cards.",
        DisplayUserInfo,
        display_user_info,
    ),
    Tool(
        "display_card_info_by_last4",
        "Show the cards that end in four given digits, with their holders and any replacement on its way."
        " Several customers may have such a card: ask which one is calling.",
        DisplayCardInfoByLast4,
        display_card_info_by_last4,
    ),
    Tool(
        "change_card_status",
        "Freeze a card, make a frozen card usable again, or cancel a card for good.",
        ChangeCardStatus,
        change_card_status,
    ),
    Tool(
        "request_card_replacement",
        "Cancel a card and send the customer a new one. This cannot be undone.",
        RequestCardReplacement,
        request_card_replacement,
    ),
    Tool(
        "update_card_replacement_status",
        "Record how far the delivery of a replacement card has come.",
        UpdateCardReplacementStatus,
        update_card_replacement_status,
    ),
)
