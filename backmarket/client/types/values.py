"""Values that the document names, for arguments and filters."""

from __future__ import annotations

from typing import Literal

OrderStateValue = Literal[0, 10, 1, 3, 8, 9]
"""States by which orders can be filtered (`OrderState` names them)."""
OrderLineStateValue = Literal[0, 9, 8, 1, 2, 3, 4, 5, 6, 7]
"""States to which an order line can be moved (`OrderLineState` names them)."""
ReturnReasonValue = Literal[0, 1, 11, 12, 13, 21, 22, 23, 24, 25]
"""Reason of a refund or return."""
VatType = Literal["REGULAR", "MARGINAL"]
"""How VAT is calculated."""
CountryCode = Literal[
    "fr-fr", "fr-be", "es-es", "de-de", "de-at", "it-it", "ja-jp", "en-au", "en-gb", "en-us", "nl-nl", "pt-pt",
    "en-ie", "el-gr", "sk-sk", "sv-se",
]  # fmt: skip
"""Market of an order."""
PublicationStateValue = Literal[0, 1, 2, 3, 4]
"""Whether a listing is on sale (`PublicationState` names them)."""
PublishValue = Literal[2]
"""Publishes a listing, by recorded use; other values of `pub_state` are not known."""
ShipmentOrderState = Literal[0, 1, 3, 8, 9]
"""Order states by which shipments can be filtered."""
BuybackState = Literal[
    "NEW", "PENDING", "TO_SEND", "SENT", "RECEIVED", "COUNTER_PROPOSAL", "VALIDATED", "PAID", "MONEY_TRANSFERED",
    "SUSPENDED",
]  # fmt: skip
"""State of a buyback order."""
CareState = Literal[0, 9]
"""0: open, 9: closed."""
CareProblem = Literal[
    "ACCOUNT_LOCKED", "CODE_LOCKED", "DAMAGED_PACKAGE", "ITEM_NOT_RECEIVED", "MISSING_PART", "OOW_ITEM",
    "PROBLEM_NOT_IDENTIFIED", "WRONG_ITEM", "OTHER",
]  # fmt: skip
"""Problem with a returned item."""
RefundType = Literal[4, 5, 6]
"""4: in full, of a paid line; 5: in full, of an accepted one; 6: in full or in part, of a shipped one."""
TransferAction = Literal["REPAIR", "REPLACE", "NOTHING"]
"""Action taken on a device before it is sent back."""
Shipper = Literal[
    "Allied Express", "Aramex Australia", "Australia Post", "Australia Post Express", "Austrian Post", "BPost", "BRT",
    "Chronopost", "Chronopost Express", "ColisPrivé", "Colissimo", "Correos", "Correos Express", "Couriers Please",
    "CTT", "Cubyn", "Cubyn Express", "DB Schenker", "Deutsche Post", "DHL", "DHL DE", "DHL Express", "DHL  EXPRESS",
    "DHL NL", "DHL Parcel Spain", "DHL SP", "DPD", "DPD Benelux", "DPD DE", "DPD FR", "DPD International", "DPD UK",
    "DPD UK Express", "DTDC Australia", "FedEx", "FedEx - 2Days", "FedEx Express", "FedEx International",
    "FedEx - Overnight", "Geodis", "Girard Agediss - Livraison dans la pièce de votre choix sur RDV", "GLS",
    "GLS - DE", "GLS - FR", "GLS International", "GLS - IT", "GLS-SPAIN", "GLS Spain Express", "Hermes - DE",
    "Hermes - UK", "Japan Post", "Livraison au pied du camion", "Livraison dans la pièce de votre choix", "Logoix",
    "MRW", "Murfy transporteur", "NACEX", "ParcelForce Express", "Parcelforce (Worldwide)", "Parcelpoint Pty Ltd",
    "Poste Italiane", "Post NL", "Private Transporter", "Royal Mail", "Royal Mail Express", "Sagawa", "Seino",
    "Sendle", "Seur", "Socolissimo", "Star Track Express", "TIPSA", "TIPSA Express", "TNT", "TNT Australia",
    "TNT Express", "Tourline", "UPS", "UPS 2 days", "UPS 2nd Day Air", "UPS Express", "UPS express save",
    "UPS Ground", "UPS next day", "UPS Overnight", "UPS standard", "USPS", "USPS Express", "USPS - First Class",
    "USPS - Priority Mail", "USPS - Priority Mail Express", "VIR", "Yamato", "Zeleris", "Other",
]  # fmt: skip
"""Carriers that a listing can name."""
