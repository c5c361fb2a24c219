"""Invented people and addresses. No person here exists; phone numbers are from ranges reserved for fiction."""

from __future__ import annotations

import unicodedata
from random import Random
from typing import Any, Final, NamedTuple


class Market(NamedTuple):
    """Data of one of the API's country codes (locales)."""

    country: str
    currency: str
    phone: str
    digits: int
    cities: tuple[tuple[str, str], ...]


MARKETS: Final[dict[str, Market]] = {
    "fr-fr": Market("FR", "EUR", "+3363998", 4, (("Paris", "75003"), ("Lyon", "69002"), ("Évry", "91000"))),
    "fr-be": Market("BE", "EUR", "+3246600", 4, (("Liège", "4000"), ("Namur", "5000"))),
    "es-es": Market("ES", "EUR", "+3460000", 4, (("Madrid", "28013"), ("A Coruña", "15001"))),
    "de-de": Market("DE", "EUR", "+49176040690", 2, (("Köln", "50667"), ("Berlin", "10115"))),
    "de-at": Market("AT", "EUR", "+4366000", 4, (("Wien", "1010"), ("Graz", "8010"))),
    "it-it": Market("IT", "EUR", "+3932000", 5, (("Milano", "20121"), ("Forlì", "47121"))),
    "ja-jp": Market("JP", "JPY", "+81900000", 4, (("東京", "100-0001"), ("大阪", "530-0001"))),
    "en-au": Market("AU", "AUD", "+6149157", 4, (("Sydney", "2000"), ("Perth", "6000"))),
    "en-gb": Market("GB", "GBP", "+447700900", 3, (("London", "N1 9GU"), ("Leeds", "LS1 4AP"))),
    "en-us": Market("US", "USD", "+1555555", 4, (("Portland", "97201"), ("Boston", "02108"))),
    "nl-nl": Market("NL", "EUR", "+3160000", 4, (("Utrecht", "3511 AB"), ("Breda", "4811 AA"))),
    "pt-pt": Market("PT", "EUR", "+35191000", 4, (("Lisboa", "1100-001"), ("Évora", "7000-001"))),
    "en-ie": Market("IE", "EUR", "+3538300", 5, (("Dublin", "D02 X285"), ("Cork", "T12 W8KP"))),
    "el-gr": Market("GR", "EUR", "+3069000", 5, (("Αθήνα", "105 57"), ("Πάτρα", "262 21"))),
    "sk-sk": Market("SK", "EUR", "+42190000", 4, (("Bratislava", "811 01"), ("Košice", "040 01"))),
    "sv-se": Market("SE", "SEK", "+4670174", 4, (("Malmö", "211 20"), ("Umeå", "903 25"))),
}
"""By country code, as the schema `CountryCode` lists them."""

COUNTRY_CODES: Final = tuple(MARKETS)

_FIRST = (
    "Apolline", "Balthazar", "Célestine", "Dagobert", "Euphémie", "Fulbert", "Gwendal", "Hermine", "Isidora",
    "Jörg", "Kunegunda", "Leocadia", "Melchior", "Nunzia", "Ottilie", "Pelagia", "Quirin", "Rosalba", "Sölve",
    "Théodora", "Ulrika", "Venceslas", "Wilfrida", "Xanthippe", "Yseult", "Zenobia",
)  # fmt: skip
_LAST = (
    "Abendschön", "Bellefontaine", "Corvaglio", "Dunkelwald", "Escamillo", "Fairweather", "Grünspan",
    "Hazelmoor", "Ivancourt", "Jasperson", "Kestrelby", "Lindqvarn", "Montrouille", "Nightingarth",
    "O'Quillan",
    "Papadreou", "Quillfeather", "Rabenhorst", "Silberzweig", "Tournemire", "Underbough", "Valderrábano",
    "Winterbourne", "Xavierre", "Yarrowfield", "Zwetschgenbaum",
)  # fmt: skip
_STREETS = (
    "Imaginary Street", "rue des Chimères", "Traumgasse", "calle del Espejismo", "via delle Favole",
)  # fmt: skip
_PLAIN = {name: unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower() for name in _FIRST}
_MAIL = ("example.com", "example.org", "example.net")


def _one(values: tuple[Any, ...], rng: Random) -> Any:
    return values[int(rng.random() * len(values))]


def address(number: int, country_code: str, rng: Random, *, email: bool) -> dict[str, Any]:
    """An `Address` as orders carry it; optional members are sometimes null or missing.

    Args:
        number: the address's id.
        country_code: the market of the address.
        rng: the source of everything else.
        email: whether to add an e-mail address, which the document's prose has, but not its schema.
    """
    market = MARKETS[country_code]
    city, postal_code = _one(market.cities, rng)
    first, last = _one(_FIRST, rng), _one(_LAST, rng)
    chance = rng.random()
    person: dict[str, Any] = {
        "id": number,
        "country": market.country,
        "city": city,
        "postalCode": postal_code,
        "firstName": first,
        "lastName": last,
        "company": None if chance < 0.5 else "" if chance < 0.9 else f"{last} & Co.",
        "phoneNumber": f"{market.phone}{int(rng.random() * 10**market.digits):0{market.digits}d}",
        "street": f"{1 + int(rng.random() * 200)}, {_one(_STREETS, rng)}",
    }
    if country_code == "en-us":
        person["state"] = "Oregon" if city == "Portland" else "Massachusetts"
    elif chance < 0.7:
        person["state"] = None
    if chance > 0.6:
        person["street2"] = f"Apartment {int(chance * 100)}"
    if email:
        person["email"] = f"{_PLAIN[first]}.{number}@{_one(_MAIL, rng)}"
    return person
