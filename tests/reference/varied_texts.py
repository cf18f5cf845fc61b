"""Texts of every kind that an encoder may be sent: short, long, in many scripts, and odd."""

import random
from typing import Final

_WORDS: Final = (
    "the water behind a dam is drawn by turbines when the grid asks for power and the operators watch levels flows "
    "pressures alarms while engineers plan repairs for summer because rain comes in autumn and snow melts late"
).split()
_SCRIPTS: Final = (
    "Une forêt sous la pluie, où l'on entend les oiseaux.",
    "Der Fluß fließt über die Brücke nach Köln.",
    "Быстрая лиса перепрыгнула через ленивую собаку.",
    "水力発電所の貯水池は静かです。",
    "今天天气很好,我们去公园散步。",
    "대한민국의 수도는 서울입니다.",
    "مرحبا بكم في مدينتنا الجميلة",
    "שלום עולם",
    "Γρήγορη αλεπού πηδά πάνω από τον σκύλο.",
    "नमस्ते दुनिया",
    "สวัสดีชาวโลก",
    "naïve café — “quoted” … 50 % off ½ price №7",
    "🚀🔥 shipping emojis 👩‍👩‍👧‍👦 today 🇫🇷",
    "e\u0301 is é, and ﬁ is a ligature",
    "zero\u200bwidth\u00a0spaces\tand\nnew lines",
)
_ODD: Final = (
    "a",
    ".",
    "42",
    "?!?!",
    "x" * 90,
    "x" * 130,
    "https://example.org/a/b?c=d&e=%20f#g",
    "def f(x): return x ** 2  # square",
    "SELECT name FROM users WHERE id = 7;",
    "CAPITALS AND small",
    "The [MASK] of France is [SEP] Paris [CLS]",
)


def varied_texts(count: int = 200, seed: int = 7) -> list[str]:
    """Return texts of 1 to 400 words, the same ones for each seed."""
    random_ = random.Random(seed)
    texts = [*_SCRIPTS, *_ODD]
    while len(texts) < count:
        # A few are longer than most models read; many of those would only take time.
        usual = random_.choice((2, 4, 7, 10, 14, 20, 30))
        words = (60, 150, 400)[len(texts) // 20 % 3] if len(texts) % 20 == 0 else usual + random_.randrange(3)
        texts.append(" ".join(random_.choice(_WORDS) for _ in range(words)).capitalize() + ".")
    return texts[:count]


def sentences(count: int, seed: int = 11) -> list[str]:
    """Return sentences as people send them to be found again: most of 8 to 30 words, some of a paragraph."""
    random_ = random.Random(seed)
    texts = []
    for _ in range(count):
        words = max(3, min(180, round(random_.lognormvariate(2.7, 0.6))))
        texts.append(" ".join(random_.choice(_WORDS) for _ in range(words)).capitalize() + ".")
    return texts
