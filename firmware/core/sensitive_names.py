"""Which names are of somebody: a list, and the ways fields and log lines spell it. Pure.

What stands under them, and where they stand in a text, is for sensitive.py.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from unicodedata import normalize

FIELD_NAMES = (
    "patient", "patient_name", "patient_id", "patient_identifier", "mrn", "medical_record_number", "birth_date",
    "date_of_birth", "dob", "birthday", "name", "full_name", "first_name", "last_name", "middle_name", "family_name",
    "given_name", "family", "given", "surname", "forename", "maiden_name", "address", "street", "postal_code", "zip", "zip_code", "phone",
    "phone_number", "telephone", "mobile", "fax", "email", "ssn", "social_security_number", "passport", "insurance_number",
    "accession", "accession_number", "physician", "referring_physician", "performing_physician", "surgeon", "operator_name",
    "next_of_kin", "guardian", "photo", "other_patient_id", "other_patient_ids_sequence", "other_patient_name", "issuer_of_patient_id",
    "operators_name", "physicians_of_record", "name_of_physicians_reading_study", "requesting_physician", "consulting_physician",
    "scheduled_performing_physician", "birth_name", "mother_birth_name", "responsible_person", "person_name", "telephone_number",
    "telecom", "birth_place", "place_of_birth", "attending_physician", "attending_doctor", "admitting_physician", "admitting_doctor",
    "consulting_doctor", "referring_doctor", "anesthesiologist", "anaesthetist", "radiologist", "mother_maiden_name", "spouse_name",
    "guarantor_name", "insured_name", "subscriber_id", "policy_number", "patient_account_number", "visit_number", "national_id",
    "nhs_number", "emergencycontact", "admission_id", "patient_number", "patient_comments", "military_rank", "occupation",
    # DICOM's keywords of persons (PS3.15 table E.1-1), in one word each: in a text `time:`, `group:` or `author:` would be doubted for them.
    "birthtime", "patientage", "ethnicgroup", "ethnicgroupcodesequence", "branchofservice", "countryofresidence", "regionofresidence",
    "patientinstitutionresidence", "scheduledpatientinstitutionresidence", "currentpatientlocation", "patientreligiouspreference",
    "patienttelecominformation", "patienttransportarrangements", "patientinsuranceplancodesequence", "insuranceplanidentification",
    "patientprimarylanguagecodesequence", "additionalpatienthistory", "medicalrecordlocator", "issuerofadmissionid", "serviceepisodeid",
    "referencedpatientsequence", "referencedpatientaliassequence", "referencedpatientphotosequence", "personaddress",
    "persontelephonenumber", "persontelecominformation", "personidentificationcodesequence", "clinicaltrialsubjectid",
    "clinicaltrialsubjectreadingid", "addresstrial", "telephonenumbertrial", "ordercallbackphonenumber", "ordercallbacktelecominformation",
    "orderenteredby", "distributionname", "distributionaddress", "namesofintendedrecipientsofresults", "interpretationauthor",
    "interpretationrecorder", "interpretationtranscriber", "physicianapprovinginterpretation", "verifyingobservername",
    "verifyingobserversequence", "authorobserversequence", "currentobservertrial", "verbalsourcetrial", "contentcreatorname",
    "reviewername", "roiinterpreter", "cameraownername", "humanperformername", "actualhumanperformerssequence",
    "scheduledhumanperformerssequence", "operatoridentificationsequence", "consultingphysicianidentificationsequence",
    "performingphysicianidentificationsequence", "referringphysicianidentificationsequence", "physiciansofrecordidentificationsequence",
    "scheduledperformingphysicianidentificationsequence", "physiciansreadingstudyidentificationsequence", "selectorpnvalue",
    "identifyingcomments", "visitcomments", "specimenaccessionnumber", "fillerordernumberimagingservicerequest",
    "placerordernumberimagingservicerequest",
)  # fmt: skip

NUMBER_OF_SOMEBODY_MIN = 3  # digits. `Patient 2: Ann` counts; `Patient 4711: moved` names, and then the number is of the value.
_WORD_IN_NAME = re.compile(r"[A-Z]+(?![^\W\d_A-Z])|[A-Z]?[^\W\d_A-Z]+|\d+")
SEPARATOR = re.compile(r"[/.:@\[\]]+")  # between the parts of a field's path
_TELLING_ALONE = ("mrn", "ssn", "dob")
_TELLING = (*_TELLING_ALONE, "patient", "birth", "dateofbirth", "medicalrecord", "accession", "socialsecurity")
_NOT_LETTER = re.compile(r"[\W_]+")
_NUMBER_BEHIND = re.compile(rf"[\W_]*\d{{{NUMBER_OF_SOMEBODY_MIN},}}[\W_]*\Z")  # somebody's, not one of several


@dataclass(frozen=True, slots=True)
class SensitiveNames:
    """Names of fields whose values are sensitive, however they are spelled: patient_name, PatientName, PATIENT-NAME.

    Two of them together are one, too: PatientBirthDate, ReferringPhysicianName. last_words: what ends those of several words, which
    in a text stand apart: `Patient ID: 4711`.
    """

    words: frozenset[str]
    last_words: frozenset[str] = frozenset()

    @classmethod
    def of(cls, names: Iterable[str]) -> "SensitiveNames":
        """From a list as in the settings."""
        listed = [(plain(name), _WORD_IN_NAME.findall(name)) for name in names]
        last = {plain(words[-1]) for whole, words in listed if whole and len(words) > 1}
        return cls(
            _with_several({whole for whole, _ in listed if whole}), _with_several(last) | ({"names"} if "name" in last else set())
        )

    def __contains__(self, path: str) -> bool:
        """Whether the last part of a field's path, alone or with those before it, or any part above it, is such a name.

        `patient/id`, `robot.patientId` and `patient/address/street` are; `arm/temperature` is not.
        """
        return _is_listed(self.words, path)

    def reading(self, path: str) -> str:
        """As much of a field's path as may be read: to the end of the first part that is such a name, for below it somebody may be named.

        `patient/4711/bed` and `patient 4711` are `patient`; of a path whose last parts are such a name together, or that has none, it is all.
        """
        return _read_up_to(self.words, path)


def _with_several(words: set[str]) -> frozenset[str]:
    """Of one, and of several: `patients`. `names` alone are of joints, topics and files."""
    return frozenset(words | {f"{word}s" for word in words if word.isascii() and word != "name"})


@lru_cache(4096)  # Names repeat from message to message; one that nobody says twice costs what it would without.
def _is_listed(words: frozenset[str], path: str) -> bool:
    raw = SEPARATOR.split(path)
    parts = [plain(part) for part in raw]
    if any(_is_of(words, part) for part in parts) or any(_ends_telling(words, part) for part in raw):
        return True
    return any("".join(parts[start:]) in words for start in range(len(parts) - 1))


def _is_of(words: frozenset[str], part: str) -> bool:
    """Whether it is listed, or two that are: patientBirthDate, and patientsName, as DICOM once had it."""
    if part in words or (part := part.rstrip("0123456789")) in words:  # address2
        return True
    if part.endswith("names") and part != "names":  # surgeonNames
        part = part[:-1]
    if not part.isascii() and any(part.endswith(word) for word in words if word[0] >= "\u2e80"):
        return True  # Chinese puts no space before it.
    return any(
        part[:cut] in words and (part[cut:] in words or part[cut:].removeprefix("s") in words) for cut in range(2, len(part))
    )


def _ends_telling(words: frozenset[str], part: str) -> bool:
    """Whether it ends as a listed name that is nobody else's: X-Patient-Id, currentPatientName, hl7_mrn; and not distance_to_patient."""
    found = _WORD_IN_NAME.findall(part)
    for cut in range(1, len(found)):
        ending = plain("".join(found[cut:]))
        is_telling = ending.startswith(_TELLING) and (cut < len(found) - 1 or ending.rstrip("s") in _TELLING_ALONE)
        if is_telling and ending in words:
            return True
    return False


@lru_cache(4096)
def _read_up_to(words: frozenset[str], path: str) -> str:
    begin = 0
    for separator in (*SEPARATOR.finditer(path), None):
        end = len(path) if separator is None else separator.start()
        part = path[begin:end]
        if _is_of(words, plain(part)) or _ends_telling(words, part):
            number = None if plain(part) in words else _NUMBER_BEHIND.search(part)
            return path[:end] if number is None else path[: begin + number.start()]
        begin = end if separator is None else separator.end()
    return path


@lru_cache(4096)
def plain(name: str) -> str:
    """Without signs, accents, width and case: `Pr\u00e9nom` is one name however its accent was typed."""
    return _NOT_LETTER.sub("", normalize("NFKD", name).casefold())


NAMES = SensitiveNames.of(FIELD_NAMES)
