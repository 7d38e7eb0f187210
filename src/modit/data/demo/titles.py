"""Titles that a person can read: the super-pattern gives the noun, the pattern the look, attributes are named."""

from __future__ import annotations

import numpy as np


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_NOUNS = _words("""
    chair table lamp sofa shelf mirror clock vase rug curtain basket candle kettle teapot mug bowl plate tray knife pan
    backpack wallet belt scarf jacket boot sandal hat glove watch ring necklace guitar drum puzzle kite racket helmet
    tent bicycle notebook pen easel camera radio speaker keyboard planter
""")
_PLACES = _words("""
    home garden travel kitchen studio office beach winter city school workshop balcony party camping library kids
""")
_STYLES = _words("""
    Vintage Modern Rustic Nordic Classic Minimal Bold Playful Elegant Industrial Bohemian Coastal Retro Baroque
    Tropical Alpine Colonial Geometric Floral Striped Painted Woven Carved Folding
""")
_MATERIALS = _words("""
    oak walnut pine bamboo cork leather linen cotton wool silk felt velvet steel brass copper iron glass marble granite
    ceramic porcelain rattan paper resin
""")
_ATTRIBUTE_WORDS = {
    "quality": "handpicked",
    "popular": "bestseller",
    "safety": "certified",
    "fresh": "new in",
    "gift": "gift-ready",
    "eco": "recycled",
    "premium": "premium",
    "local": "made nearby",
}


def pattern_names(super_pattern: np.ndarray) -> list[str]:
    """Names like "Vintage oak chair" for patterns, whose super-patterns are int64 [P] and give the noun."""
    supers = int(super_pattern.max()) + 1
    return [_name(pattern // supers, int(group)) for pattern, group in enumerate(super_pattern)]


def titles(
    first: int, patterns: np.ndarray, attributes: np.ndarray, names: list[str], domains: tuple[str, ...]
) -> list[str]:
    """Titles like "Vintage oak chair #000123 (bestseller)" of items from number `first` on.

    `patterns` is int32 [n] and indexes `names`; `attributes` is bool [domains, n].
    """
    # one suffix for each of the 2^domains combinations of attributes
    code = (attributes.T @ (1 << np.arange(len(domains)))).tolist()
    suffixes = [_suffix(bits, domains) for bits in range(1 << len(domains))]
    numbered = enumerate(zip(patterns.tolist(), code, strict=True), start=first)
    return [f"{names[pattern]} #{number:06d}{suffixes[bits]}" for number, (pattern, bits) in numbered]


def _name(rank: int, group: int) -> str:
    # walks all pairs of style and material inside a super-pattern, both changing at each step
    pair = rank + 5 * group
    style = _STYLES[pair % len(_STYLES)]
    material = _MATERIALS[(pair + pair // len(_STYLES)) % len(_MATERIALS)]
    noun = _NOUNS[group % len(_NOUNS)]
    place = group // len(_NOUNS)
    return f"{style} {material} {noun}" if place == 0 else f"{style} {material} {_PLACES[place % len(_PLACES)]} {noun}"


def _suffix(bits: int, domains: tuple[str, ...]) -> str:
    words = [_ATTRIBUTE_WORDS[domain] for position, domain in enumerate(domains) if bits >> position & 1]
    return f" ({', '.join(words)})" if words else ""
