"""Which names are of somebody, however they are spelled and whoever lists them."""

import pytest

from firmware.core.message import Tag
from firmware.core.sensitive import find_tags
from firmware.core.sensitive_names import NAMES, SensitiveNames


@pytest.mark.parametrize(
    "name",
    ["patient", "patient_name", "PatientName", "PATIENT-NAME", "patientName", "robot/patient/age", "patient.id", "a/b/MRN", "birthDate",
     "date of birth", "sd@32473/patient_id", "patients[0].x/name", "accessionNumber", "Phone", "patientBirthDate", "patient_dob",
     "PatientsName", "ReferringPhysicianName", "a/patient_last_name/0", "patients/0", "patients/4711/bed", "MRNs", "patient_ids", "surgeonNames",
     "OtherPatientIDs", "OtherPatientIDsSequence/0/x", "OtherPatientNames", "OperatorsName", "PhysiciansOfRecord", "PatientMotherBirthName",
     "PatientTelephoneNumbers", "NameOfPhysiciansReadingStudy", "PatientBirthTime", "PatientComments", "PatientAge", "PersonAddress",
     "PersonTelephoneNumbers", "AdmissionID", "MilitaryRank", "Occupation", "EthnicGroup", "PatientReligiousPreference", "OrderEnteredBy",
     "HumanPerformerName", "InterpretationAuthor", "ReferencedPatientSequence/0/ReferencedSOPInstanceUID", "VerifyingObserverName",
     "OperatorIdentificationSequence", "NamesOfIntendedRecipientsOfResults", "X-Patient-Id", "currentPatientName", "hl7_mrn", "HL7MRN", "last_patient_birth_date",
     "a/dicom_patient_ids/0", "study_accession_number", "attending_doctor", "insured_name", "visitNumber", "CountryOfResidence", "SelectorPNValue"],
)  # fmt: skip
def test_sensitive_names(name: str) -> None:
    """However it is spelled and wherever it stands. (S2-081)"""
    assert name in NAMES


@pytest.mark.parametrize(
    ("listed", "name"),
    [
        ("患者姓名", "患者姓名"), ("姓名", "患者姓名"), ("имя", "ИМЯ"), ("prénom", "prénom"), ("prénom", "Pre\u0301nom"),
        ("Straße", "STRASSE"), ("रोगी", "रोगी"), ("mrn", "ＭＲＮ"), ("שם", "שם"),
    ],
)  # fmt: skip
def test_a_site_lists_names_in_its_own_script(listed: str, name: str) -> None:
    """As a field's name, quoted in a text and bare in one, with either width of the sign; no listed name counts for nothing. (S2-081)"""
    names = SensitiveNames.of([listed])

    assert name in names
    assert (Tag("text", 0, 0, "field"),) == find_tags(f'got {{"{name}": "x"}}', {}, names=names)
    for sign in (": ", " = ", "：", "＝"):
        text = f"arm 3, {name}{sign}欧阳"
        assert ["欧阳"] == [text[tag.start : tag.end] for tag in find_tags(text, {}, names=names)]
    assert () == find_tags(f"{name} 4, arm: 3, 关节：过热", {"arm": 1}, names=names)


@pytest.mark.parametrize("name", ["torque_nm", "arm/temperature", "patience", "names", "id", "filename", "hostname", "", "/", "device_name",
     "ip_address", "patient_side_cart", "patient_cart_name_plate", "impatient", "joint_names", "hostnames", "outpatients", "PatientPosition",
     "patient_orientation", "distance_to_patient", "robot_to_patient", "last_patient", "topic_full_name", "motor_family", "outpatient_id",
     "birth_message", "visits", "policy", "zone_occupancy", "author", "group", "comments", "rank", "branch", "ContentDescription", "SeriesTime"])  # fmt: skip
def test_harmless_names(name: str) -> None:
    """Names that only look like it."""
    assert name not in NAMES


@pytest.mark.parametrize(
    ("expected", "path"),
    [
        ("patient", "patient/4711/bed"), ("a/Patient", "a/Patient:Jane Doe"), ("patient_id", "patient_id"), ("x.patient", "x.patient"),
        ("medical/record/number", "medical/record/number"), ("arm/temperature", "arm/temperature"), ("", ""), ("//mrn", "//mrn//1"),
        ("patients", "patients/4711/bed"), ("mrn", "mrn 4711"), ("a/patient", "a/patient-#4711 /bed"), ("MRN", "MRN4711"),
        ("address2", "address2"), ("patient 12", "patient 12/bed"),
    ],
)  # fmt: skip
def test_a_path_is_read_up_to_the_sensitive_name(expected: str, path: str) -> None:
    """What stands below it may be somebody."""
    assert expected == NAMES.reading(path)


def test_a_site_chooses_its_names() -> None:
    """The list is the site's; an empty one leaves only markers and documents."""
    assert "bed" in SensitiveNames.of(["Bed"])
    assert () == find_tags("patient=Jane", {"patient": 1}, names=SensitiveNames.of([]))
    assert [(13, 18)] == [
        (tag.start, tag.end) for tag in find_tags("device name: PSM-3", {}, names=SensitiveNames.of(["device_name", "name"]))
    ]
