"""Variables that override the file: pairs of the specification, ours, and broken ones that are named."""

from __future__ import annotations

import pytest

from dicom_adapter.config import ConfigError, load_text

PLATFORM = ("CLARA_SERVICE_HOST", "CLARA_SERVICE_PORT_API")
RESULTS = ("CLARA_RESULTSSERVICE_SERVICE_HOST", "CLARA_RESULTSSERVICE_SERVICE_PORT")
FILE = "services: {platform-endpoint: 'file:1', results-service-endpoint: 'http://file:2'}"


def services(environ: dict[str, str], text: str = FILE) -> tuple[str, str]:
    settings = load_text(text, environ).settings
    return settings.services.platform_endpoint, settings.services.results_service_endpoint


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ("file:1", "http://file:2")),
        ({PLATFORM[0]: "10.0.0.1", PLATFORM[1]: "30031"}, ("10.0.0.1:30031", "http://file:2")),
        ({RESULTS[0]: "results", RESULTS[1]: "80"}, ("file:1", "http://results:80")),
        ({PLATFORM[0]: "::1", PLATFORM[1]: "1", RESULTS[0]: "::1", RESULTS[1]: "2"}, ("[::1]:1", "http://[::1]:2")),
        ({PLATFORM[0]: "", PLATFORM[1]: ""}, ("file:1", "http://file:2")),
    ],
)
def test_both_of_a_pair_override_the_file(environ: dict[str, str], expected: tuple[str, str]) -> None:
    assert services(environ) == expected


def test_they_work_without_a_services_section() -> None:
    assert services({PLATFORM[0]: "h", PLATFORM[1]: "1"}, "") == ("h:1", "http://localhost:50080")


@pytest.mark.parametrize(
    ("name", "value"), [(PLATFORM[0], "h"), (PLATFORM[1], "1"), (RESULTS[0], "h"), (RESULTS[1], "1")]
)
def test_one_alone_changes_nothing_and_a_warning_names_it(name: str, value: str) -> None:
    loaded = load_text(FILE, {name: value})
    assert [warning.path for warning in loaded.warnings] == [name]
    assert services({name: value}) == ("file:1", "http://file:2")


@pytest.mark.parametrize("value", ["abc", "0", "65536", "-1", "1" * 5000, "٣"])
@pytest.mark.parametrize("name", [PLATFORM[1], RESULTS[1]])
def test_a_broken_port_is_an_error_that_names_the_variable(name: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(FILE, {name: value})
    assert [problem.path for problem in caught.value.problems] == [name]


@pytest.mark.parametrize("text", ["", "api: {port: 5001}", "api: {host: 127.0.0.1}"])
def test_the_address_of_the_api_is_the_containers(text: str) -> None:
    variable = {"DICOM_ADAPTER_API_HOST": "::1"}
    assert load_text(text, variable).settings.api.host == "::1"
    assert load_text(text, {"DICOM_ADAPTER_API_HOST": ""}).settings.api.host == "127.0.0.1"


def test_names_and_token_of_the_api() -> None:
    variables = {
        "DICOM_ADAPTER_API_HOST_NAMES": "adapter,adapter.imaging",
        "DICOM_ADAPTER_API_TOKEN_FILE": "/run/token",
    }
    api = load_text("", variables).settings.api
    assert (api.host_names, str(api.token_file)) == (("adapter", "adapter.imaging"), "/run/token")


def test_what_a_variable_says_is_checked_as_if_it_stood_in_the_file() -> None:
    with pytest.raises(ConfigError) as caught:
        load_text("", {"DICOM_ADAPTER_API_HOST": "no host!"})
    assert [problem.path for problem in caught.value.problems] == ["api.host"]
