"""Writes train.jsonl and heldout.jsonl: free-form orders, each with the strict JSON a shop's system expects.

Run it again to get the same files: `python examples/orders/make_orders.py`.
"""

import json
import random
from pathlib import Path

INSTRUCTION = "Turn the order into JSON with the keys item, size, color, quantity, day."
ITEMS = {"mug": "mugs", "bowl": "bowls", "plate": "plates", "vase": "vases", "lamp": "lamps", "basket": "baskets"}
SIZES = {"small": ["small", "little", "tiny"], "medium": ["medium", "mid-sized"], "large": ["large", "big", "huge"]}
COLORS = ["red", "blue", "green", "black", "white", "yellow"]
DAYS = {
    "mon": ["Monday", "Mon"], "tue": ["Tuesday", "Tue"], "wed": ["Wednesday", "Wed"],
    "thu": ["Thursday", "Thu"], "fri": ["Friday", "Fri"], "sat": ["Saturday", "Sat"],
}  # fmt: skip
NUMBERS = {
    1: ["one", "a single", "1"], 2: ["two", "a pair of", "2"], 3: ["three", "3"], 4: ["four", "4"], 5: ["five", "5"],
    6: ["six", "half a dozen", "6"], 8: ["eight", "8"], 10: ["ten", "10"], 12: ["twelve", "a dozen", "12"],
}  # fmt: skip
NAMES = ["Anna", "Ben", "Chloe", "Dev", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas"]
TEMPLATES = [
    "Hi, could I get {number} {size} {color} {item} by {day}? Thanks, {name}",
    "{name} here. Please send {number} {color} {item}, {size} ones, on {day}.",
    "We need {number} {item} for {day}. Color: {color}, size: {size}. Best, {name}",
    "Order for {day}: {number} {size} {item} in {color}.",
    "hello!! {name} again, {number} {item} pls - {color}, {size} - need them {day}",
    "Can you deliver {number} {size} {item}, all {color}, this {day}? {name}",
    "By {day} I would like to have {number} {color} {item}. Make them {size}, please.",
    "On {day} my shop is out of {size} {item}: send {number}, {color} if you have them.",
]


def order(rng: random.Random) -> tuple[str, dict[str, str | int]]:
    """One order as a customer writes it, and as the shop's system wants it."""
    item, size, day = rng.choice(list(ITEMS)), rng.choice(list(SIZES)), rng.choice(list(DAYS))
    color, quantity = rng.choice(COLORS), rng.choice(list(NUMBERS))
    text = rng.choice(TEMPLATES).format(
        number=rng.choice(NUMBERS[quantity]), size=rng.choice(SIZES[size]), color=color,
        item=item if quantity == 1 else ITEMS[item], day=rng.choice(DAYS[day]), name=rng.choice(NAMES),
    )  # fmt: skip
    return text, {"item": item, "size": size, "color": color, "quantity": quantity, "day": day}


def main() -> None:
    rng = random.Random(7)
    rows: dict[str, dict[str, str | int]] = {}
    while len(rows) < 360:
        text, answer = order(rng)
        rows.setdefault(text, answer)
    lines = [
        json.dumps({"messages": [
            {"role": "user", "content": f"{INSTRUCTION}\n{text}"},
            {"role": "assistant", "content": json.dumps(answer)},
        ]})
        for text, answer in rows.items()
    ]  # fmt: skip
    folder = Path(__file__).parent
    (folder / "train.jsonl").write_text("\n".join(lines[:320]) + "\n")
    (folder / "heldout.jsonl").write_text("\n".join(lines[320:]) + "\n")


if __name__ == "__main__":
    main()
