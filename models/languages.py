"""Language codes: ISO 639-1 as transcribers write them, ISO 639-2/T as ID3 wants them."""

UNKNOWN = "und"

# Every language Whisper knows. Cantonese has no code of its own in ISO 639-2; "jw" is Whisper's name for "jv".
_TABLE = """
af:afr am:amh ar:ara as:asm az:aze ba:bak be:bel bg:bul bn:ben bo:bod br:bre bs:bos ca:cat cs:ces cy:cym da:dan de:deu
el:ell en:eng es:spa et:est eu:eus fa:fas fi:fin fo:fao fr:fra gl:glg gu:guj ha:hau haw:haw he:heb hi:hin hr:hrv
ht:hat hu:hun hy:hye id:ind is:isl it:ita ja:jpn jw:jav jv:jav ka:kat kk:kaz km:khm kn:kan ko:kor la:lat lb:ltz ln:lin
lo:lao lt:lit lv:lav mg:mlg mi:mri mk:mkd ml:mal mn:mon mr:mar ms:msa mt:mlt my:mya ne:nep nl:nld nn:nno no:nor oc:oci
pa:pan pl:pol ps:pus pt:por ro:ron ru:rus sa:san sd:snd si:sin sk:slk sl:slv sn:sna so:som sq:sqi sr:srp su:sun sv:swe
sw:swa ta:tam te:tel tg:tgk th:tha tk:tuk tl:tgl tr:tur tt:tat uk:ukr ur:urd uz:uzb vi:vie yi:yid yo:yor yue:zho
zh:zho
"""
_THREE_LETTERS = dict(pair.split(":") for pair in _TABLE.split())


def iso639_2(code: str | None) -> str:
    """The three-letter code of a language.

    Parameters
    ----------
    code : str or None
        ISO 639-1, "en"; a region after it is ignored.

    Returns
    -------
    str
        ISO 639-2/T, "eng"; "und" for an unknown language.
    """
    return _THREE_LETTERS.get((code or "").replace("_", "-").split("-")[0].lower(), UNKNOWN)
