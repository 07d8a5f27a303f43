"""Lyrics: simple sung English from a small grammar, in couplets that rhyme.

A line is a clause and a closing phrase. The clause comes from a template whose slots are filled from word lists; the
closing phrases are grouped by rhyme, and the lines of a couplet close with the same one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

LONGEST_LINE_SYLLABLES = 11  # what can be sung in two bars at a quick tempo
SHORTEST_LINE_SYLLABLES = 4
HOOK_CHANCE = 0.1  # for a line that is nothing but a call

CLAUSES = (
    "I {feel} the {adjective} {noun}",
    "I {feel} your {noun}",
    "you {feel} the {noun} {go}",
    "you are my {adjective} {noun}",
    "you and I will {go}",
    "we {go} {where} the {place}",
    "we {go} {together}",
    "she will {go} {where} the {place}",
    "he will {feel} the {noun}",
    "they {feel} a {adjective} {noun}",
    "{leave} the {place} behind",
    "{give} me your {noun}",
    "{give} me {number} {nouns}",
    "{number} {nouns} {go}",
    "the {adjective} {noun} will {go}",
    "my {person} can {feel} the {noun}",
    "{greeting} my {person}",
    "every {noun} can {go}",
    "can you {feel} the {noun}",
    "{when} do the {nouns} {go}",
    "let the {noun} {go}",
    "there is {something} {where} the {place}",
    "like a {noun} and a {noun}",
    "no more {nouns}",
)
SLOTS = {  # words, or phrases parted by bars
    "adjective": "golden silver blue red black white green broken lonely happy crazy beautiful wild free young old "
    "little big sweet gentle quiet empty burning hidden secret simple tender sleepy electric",
    "noun": "heart baby dream fire rain river ocean star moon summer winter song music world road hand kiss smile "
    "thunder shadow mirror paper diamond candle garden flower honey sugar water feeling promise story memory echo "
    "whisper magic melody sunset engine angel devil colour freedom",
    "nouns": "stars roads horses birds letters miles evenings windows",
    "place": "mountain city street door valley harbour island station desert heaven water garden river bridge "
    "village railway forest ocean rainbow",
    "person": "love baby mother father brother sister friend stranger lover angel darling",
    "where": "over under behind beside above beyond around across near to",
    "feel": "feel see want need hear love follow remember believe forget know hold touch find keep call",
    "go": "go run walk fly dance sing fall rise shine cry burn turn sail wander wait begin",
    "leave": "leave lose put throw carry",
    "give": "give bring show send sing",
    "number": "two three seven ten hundred thousand million",
    "greeting": "hello goodbye remember forget believe follow",
    "together": "together|alone|forever|again and again|hand in hand|side by side",
    "when": "why when how where",
    "something": "something nothing magic music thunder",
}
CLOSINGS = (  # one rhyme to a row
    "in the night|until the morning light|shining so bright|hold me tight|tonight|in black and white",
    "every day|far away|please stay|what can I say|on the way|another day|just to play",
    "one more time|all the time|you are mine|in a line|in the summer time",
    "all alone|on the telephone|coming home|like a stone|on my own",
    "in the rain|again|waiting for the train|feel no pain|remember my name",
    "me and you|dreams come true|the sky is blue|something new|I do|all we ever do",
    "come to me|wild and free|over the sea|under the tree|you will see|just you and me",
    "turn around|round and round|lost and found|on the ground|without a sound",
    "in this town|do not let me down|upside down|up and down",
    "my love|from above|all my love|dreaming of",
    "in my heart|never apart|from the start|in the dark",
    "like a fire|higher and higher|my desire|like a choir",
)
HOOKS = ("oh oh oh oh", "yeah yeah yeah yeah", "la la la la la", "hey hey hey baby", "oh baby oh baby", "na na na na")

VOWEL_GROUP = re.compile(r"[aeiouy]+")
SILENT_END = re.compile(r"([^aeioul]e|[^aeiouscgz]es)$")  # love, loves; but not little, promises
SYLLABLES = {  # where the count of vowel groups errs
    "beautiful": 3, "choir": 1, "diamond": 2, "every": 2, "evenings": 2, "fire": 1, "goodbye": 2, "lonely": 2,
    "quiet": 2, "something": 2, "telephone": 3, "the": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A sung line: its words, in lower case but for I, without punctuation."""

    words: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(self.words)

    @property
    def syllables(self) -> int:
        """How many syllables it has."""
        return sum(map(syllables, self.words))


def write_lines(rng: np.random.Generator, count: int) -> tuple[Line, ...]:
    """Write lines in rhyming couplets.

    Parameters
    ----------
    rng : np.random.Generator
    count : int
        How many lines; an odd one stands alone.

    Returns
    -------
    tuple of Line
        Of SHORTEST_LINE_SYLLABLES to LONGEST_LINE_SYLLABLES each.
    """
    lines: list[Line] = []
    while len(lines) < count:
        closings = rng.permutation(_choices(CLOSINGS[rng.integers(len(CLOSINGS))]))
        lines += [_write_line(rng, str(closing)) for closing in closings[:2]]
    return tuple(lines[:count])


def syllables(word: str) -> int:
    """Count the syllables of an English word: groups of vowels, less a silent e, with a table of exceptions.

    Parameters
    ----------
    word : str

    Returns
    -------
    int
        At least 1.
    """
    word = word.lower()
    if word in SYLLABLES:
        return SYLLABLES[word]
    return max(1, len(VOWEL_GROUP.findall(word)) - bool(SILENT_END.search(word)))


def vocabulary() -> tuple[str, ...]:
    """List every word that a line can hold.

    Returns
    -------
    tuple of str
        Sorted, each once.
    """
    fixed = (re.sub(r"{\w+}", " ", clause) for clause in CLAUSES)
    texts = [*fixed, *SLOTS.values(), *CLOSINGS, *HOOKS]
    return tuple(sorted({word for text in texts for word in text.replace("|", " ").split()} | {"an"}))


def _write_line(rng: np.random.Generator, closing: str) -> Line:
    """A line that ends with a closing phrase, or now and then a call instead."""
    if rng.random() < HOOK_CHANCE:
        return Line(tuple(HOOKS[rng.integers(len(HOOKS))].split()))
    while True:
        clause = re.sub(r"{(\w+)}", lambda slot: _pick(rng, SLOTS[slot[1]]), CLAUSES[rng.integers(len(CLAUSES))])
        line = Line(tuple(re.sub(r"\ba (?=[aeiou])", "an ", f"{clause} {closing}").split()))
        if SHORTEST_LINE_SYLLABLES <= line.syllables <= LONGEST_LINE_SYLLABLES:
            return line


def _pick(rng: np.random.Generator, text: str) -> str:
    """One of the choices in a row of the grammar."""
    choices = _choices(text)
    return choices[rng.integers(len(choices))]


def _choices(text: str) -> list[str]:
    """The choices in a row of the grammar: parted by bars where there is one, else by spaces."""
    return text.split("|") if "|" in text else text.split()
