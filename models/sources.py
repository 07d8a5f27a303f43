"""The table of weights: where each variant's come from, under which licence, how large they are."""

from dataclasses import dataclass
from pathlib import Path

from models.checkpoints import AUDIOCRAFT_PARTS

BUNDLED = Path(__file__).parent / "demo"  # the folder of weights that come with this project
GATED_NOTE = "To be downloaded it takes the licence accepted on huggingface.co, and HF_TOKEN."
DEMO_NOTE = "To show and test the service: trained on synthesised songs alone; real music needs another variant."


@dataclass(frozen=True)
class Source:
    """Where one variant's weights come from.

    Attributes
    ----------
    filename : str
        The file that load() begins with: Whisper's checkpoint, a demucs bag's yaml, a model folder's config.json,
        audiocraft's language model.
    repository : str or None
        Its name on the Hugging Face hub; None for Whisper, which has addresses of its own, and for bundled ones.
    license : str
    download_size_bytes : int
        Of the checkpoints alone, a tokenizer is small beside them; 0 for bundled ones.
    gated : bool
        Whether a licence must be accepted on the hub first.
    bundled : bool
        Whether they come with this project, in BUNDLED, and are never downloaded.
    note : str or None
        What whoever chooses it must know.
    """

    filename: str
    repository: str | None
    license: str
    download_size_bytes: int
    gated: bool = False
    bundled: bool = False
    note: str | None = None


def _demucs(variant: str, repository: str, size: int) -> Source:
    return Source(f"{variant}.yaml", f"adefossez/{repository}", "MIT", size)


def _whisper(filename: str, size: int) -> Source:
    return Source(filename, None, "MIT", size)


def _musicgen(filename: str, **sizes: int) -> dict[str, Source]:
    return {
        variant: Source(filename, f"facebook/musicgen-{variant}", "CC-BY-NC-4.0", size)
        for variant, size in sizes.items()
    }


def _demo(filename: str) -> Source:
    return Source(filename, None, "MIT", 0, bundled=True, note=DEMO_NOTE)


def _gemma(variant: str, size: int) -> Source:
    return Source("config.json", f"google/{variant}", "Gemma Terms of Use", size, gated=True, note=GATED_NOTE)


# Repositories as demucs.hf.hf_repo_name names them, file names as in whisper._MODELS. Sizes as the files were
# published, those of mdx at demucs's older address; Gemma's as its index files sum them up (27b and 3n: their published
# counts of weights, two bytes each); MusicGen's as transformers' classes count them, in tests/test_models_sources.py.
SOURCES: dict[str, dict[str, Source]] = {
    "demucs": {
        "htdemucs": _demucs("htdemucs", "HTDemucs", 84_025_440),
        "htdemucs_ft": _demucs("htdemucs_ft", "HTDemucs-ft", 4 * 84_025_440),
        "htdemucs_6s": _demucs("htdemucs_6s", "HTDemucs-6s", 54_885_744),
        "mdx": _demucs("mdx", "Demucs-mdx", 691_349_536),
        "mdx_extra": _demucs("mdx_extra", "Demucs-mdx_extra", 669_581_740),
        "mdx_q": _demucs("mdx_q", "Demucs-mdx_q", 209_090_706),
        "mdx_extra_q": _demucs("mdx_extra_q", "Demucs-mdx_extra_q", 167_578_560),
        "demo": _demo("demo.yaml"),
    },
    "whisper": {
        "tiny": _whisper("tiny.pt", 75_572_083),
        "base": _whisper("base.pt", 145_262_807),
        "small": _whisper("small.pt", 483_617_219),
        "medium": _whisper("medium.pt", 1_528_008_539),
        "large": _whisper("large-v3.pt", 3_087_371_615),
        "turbo": _whisper("large-v3-turbo.pt", 1_617_941_637),
        "demo": _demo("demo.pt"),
    },
    "musicgen": _musicgen(
        "config.json", small=2_364_000_000, medium=8_042_000_000, melody=6_230_000_000, large=13_719_000_000
    ),
    "musicgen_audiocraft": _musicgen(
        AUDIOCRAFT_PARTS[0], small=1_077_000_000, medium=3_913_000_000, melody=3_007_000_000, large=6_750_000_000
    ),
    "gemma_3n": {
        "gemma-2-2b-it": _gemma("gemma-2-2b-it", 5_228_683_776),
        "gemma-2-9b-it": _gemma("gemma-2-9b-it", 18_483_411_968),
        "gemma-2-27b-it": _gemma("gemma-2-27b-it", 54_454_256_640),
        "gemma-3n-E2B-it": _gemma("gemma-3n-E2B-it", 10_880_000_000),
        "gemma-3n-E4B-it": _gemma("gemma-3n-E4B-it", 15_700_000_000),
    },
}
