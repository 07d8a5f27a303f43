"""Corrected words in place of heard ones, only where the correction stays close to what was heard."""

from difflib import SequenceMatcher
from typing import Any

MAX_CHANGED = 0.2  # of a line's words; beyond that it is a rewrite, not a correction


def reworded(segments: list[dict[str, Any]], lines: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Put corrected lines in place of heard ones; the times of the words stay.

    Parameters
    ----------
    segments : list of dict
        As Whisper's, with text and words.
    lines : list of str
        One corrected line for each segment; any other number is no correction, and nothing is changed.

    Returns
    -------
    segments : list of dict
    changes : list of dict
        {"heard", "corrected"} for each line that was changed.
    """
    lines = [line.strip() for line in lines if line.strip()]
    if len(lines) != len(segments):
        return segments, []
    result, changes = [], []
    for segment, line in zip(segments, lines, strict=True):
        heard = segment["text"].strip()
        if line == heard or word_error_rate(heard.split(), line.split()) > MAX_CHANGED:
            result.append(segment)
            continue
        result.append({**segment, "text": f" {line}", "words": _timed(segment.get("words", []), line.split())})
        changes.append({"heard": heard, "corrected": line})
    return result, changes


def word_error_rate(reference: list[str], other: list[str]) -> float:
    """Word edits (Levenshtein) that turn one list into the other, per word of the reference; letters' case counts not.

    Parameters
    ----------
    reference, other : list of str
    """
    row = list(range(len(other) + 1))
    for i, expected in enumerate(reference, 1):
        last, row[0] = row[0], i
        for j, given in enumerate(other, 1):
            same = expected.casefold().strip(".,!?;:") == given.casefold().strip(".,!?;:")
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (not same))
    return row[-1] / max(len(reference), 1)


def _timed(words: list[dict[str, Any]], corrected: list[str]) -> list[dict[str, Any]]:
    """The corrected words with the times of those they stand for."""
    heard = [word["word"].strip() for word in words]
    result: list[dict[str, Any]] = []
    for _, begin, end, first, last in SequenceMatcher(a=heard, b=corrected, autojunk=False).get_opcodes():
        result += _spread(words[begin:end], corrected[first:last], result)
    return result


def _spread(words: list[dict[str, Any]], corrected: list[str], before: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Some words over the time of some others: word for word where the numbers agree, else in equal shares."""
    if not corrected:
        return []
    if len(words) == len(corrected):
        return [{**word, "word": f" {text}"} for word, text in zip(words, corrected, strict=True)]
    begin = words[0]["start"] if words else before[-1]["end"] if before else 0.0
    end = words[-1]["end"] if words else begin
    step = (end - begin) / len(corrected)
    probability = min((word["probability"] for word in words), default=0.0)
    return [
        {"word": f" {text}", "start": begin + n * step, "end": begin + (n + 1) * step, "probability": probability}
        for n, text in enumerate(corrected)
    ]
