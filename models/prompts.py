"""What Gemma is told: all its instructions stand here."""

import json
from typing import Any

ANALYZE = """You are an experienced musicologist and producer. Below are measurements of one recording.
Describe this song for somebody who has not heard it: its mood and energy, its likely style and instrumentation, its
harmony, rhythm and form, and what stands out. Use the measurements, name the key and the tempo, and say where they
leave something open. Do not invent lyrics, names or facts that are not given. Write two to four short paragraphs.

Measurements:
{features}
"""

CORRECT = """Below are the lines of a song as a speech recogniser heard them. Correct obvious mishearings, spelling and
punctuation. Keep the language, keep the words that make sense, add nothing and leave nothing out. Answer with exactly
{count} lines, one for each line below, in the same order, without numbers or comments.

{lines}
"""

TRANSCRIBE = "Write down the words that are sung or spoken in this recording, and nothing else."


def analyze(features: dict[str, Any]) -> str:
    """The prompt that asks for a description.

    Parameters
    ----------
    features : dict
        As features.measure() gives them, and what else is known.
    """
    return ANALYZE.format(features=json.dumps(features, ensure_ascii=False, indent=1))


def correct(lines: list[str]) -> str:
    """The prompt that asks for corrected lines."""
    return CORRECT.format(count=len(lines), lines="\n".join(lines))
