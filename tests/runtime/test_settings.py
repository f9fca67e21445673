"""runtime/settings.py: what may be set, what a bad value says, and what is never shown."""

from pathlib import Path

import attrs
import hypothesis
import pytest
from hypothesis import strategies as st

from runtime.errors import SettingsError
from runtime.setting_rows import SettingRow, row_as_json, setting_rows
from runtime.setting_values import Bind
from runtime.settings import Reading, Settings, read_environment, read_settings

SECRETS = {
    "VAPI_API_KEY": "key-93481",
    "DATABASE_URL": "postgresql://bank:pass-93481@db:5432/bank",
    "WEBHOOK_KEY": "hook-93481-of-16-and-more",
}


def read(folder: Path, **environ: str) -> Settings:
    return read_settings(environ, state_folder=folder)


def test_settings_have_the_agreed_defaults_when_nothing_is_set(tmp_path: Path) -> None:
    settings = read(tmp_path)
    assert (settings.port, settings.voice_host, settings.voice_protocol) == (8008, "0.0.0.0", "binary")
    assert settings.webhook_bind == Bind("127.0.0.1", 8009)
    assert settings.vapi_base_url == "https://api.vapi.ai"
    assert settings.engine_url == "http://localhost:6100"
    assert (settings.simulation_id, settings.public_base_url, settings.database_url) == (None, None, None)
    assert (settings.vapi_model_provider, settings.vapi_model) == ("openai", "gpt-4o-mini")
    assert (settings.vapi_voice_provider, settings.vapi_voice_id) == ("openai", "alloy")
    assert (settings.vapi_transcriber_provider, settings.vapi_transcriber_model) == ("deepgram", "nova-2")
    assert (settings.vapi_transcriber_language, settings.max_calls) == ("en", 200)


BAD = [
    *(("PORT", raw) for raw in ("x", "-1", "65536", "8008.0", "80 80", "0x50", "1e3")),
    *(("WEBHOOK_PORT", raw) for raw in ("x", "70000")),
    *(("WEBHOOK_BIND", raw) for raw in ("8009", ":8009", "host:", "host:x", "unix:relative", "unix:/" + "x" * 100)),
    *(("MAX_CALLS", raw) for raw in ("0", "-1", "many", "1.5")),
    *(("VOICE_PROTOCOL", raw) for raw in ("text", "BINARY", "binary,json")),
    ("TAIL_MODE", "slow"), ("LOG_LEVEL", "loud"),
    *(("POD_ID", raw) for raw in ("Upper", "under_score", "x" * 41, "a/b", "pod\n2")),
    *(("VAPI_BASE_URL", raw) for raw in ("api.vapi.ai", "ftp://x", "https://", "https://x?y=1", "https://x#y", "https://u:p@x")),
    *(("ENGINE_URL", raw) for raw in ("engine:6100", "http://engine:port", "http://engine:99999", "http://[::1")),
    ("TUNNEL", "frp"), ("TUNNEL_PROBE", "yes"), ("TUNNEL_SHARE", "on"), ("TOOL_POLICY", "none"),
    ("VAPI_STATIC_IPS", "1"),
    *((name, raw) for name in ("VAPI_SLOTS", "SETUPS_PER_SECOND", "TUNNEL_ATTEMPTS") for raw in ("0", "-1", "x")),
    *(("TUNNEL_DEADLINE", raw) for raw in ("0", "-1", "ten", "1e3", "0.00001")),
    *(("SSH_TUNNEL", raw) for raw in ("host", "-oProxyCommand=x@host", "a b@host", "user@")),
    *(("VOICE_ORIGINS", raw) for raw in ("bank.example", "https://a b", "https://a/path", "*")),
    ("TUNNEL_URL", "http://bank.example"),
    *(("PUBLIC_BASE_URL", raw) for raw in ("bank.example", "http://bank.example", "wss://bank.example")),
]  # fmt: skip


@pytest.mark.parametrize(("variable", "raw"), BAD)
def test_bad_value_is_one_line_that_names_the_variable(tmp_path: Path, variable: str, raw: str) -> None:
    with pytest.raises(SettingsError) as raised:
        read(tmp_path, **{variable: raw})
    line = str(raised.value)
    assert line.startswith(f"{variable}=")
    assert "\n" not in line
    assert len(line) > len(f"{variable}={raw!r} is")


@pytest.mark.parametrize("variable", ["WEBHOOK_KEY", "WEBHOOK_SECRET", "VOICE_TOKEN"])
@pytest.mark.parametrize("raw", ["short", "with a space in its middle", "sixteen-and-m\u00f6re"])
def test_bad_secret_is_refused_without_showing_it(tmp_path: Path, variable: str, raw: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable} is too weak") as raised:
        read(tmp_path, **{variable: raw})
    assert raw not in str(raised.value)


@pytest.mark.parametrize("variable", ["PORT", "MAX_CALLS", "WEBHOOK_PORT"])
def test_bad_number_is_one_line_when_it_is_a_digit_of_another_kind(tmp_path: Path, variable: str) -> None:
    with pytest.raises(SettingsError):
        read(tmp_path, **{variable: "²"})


@hypothesis.given(st.sampled_from(sorted({name for name, _ in BAD})), st.text(st.characters(codec="ascii")))
def test_settings_raise_nothing_but_settings_errors_when_given_any_text(variable: str, raw: str) -> None:
    try:
        read(Path("/dev/null/runs"), **{"POD_ID": "pod", variable: raw})
    except SettingsError as exc:
        assert str(exc).startswith(variable)
        assert "\n" not in str(exc)


@pytest.mark.parametrize("blank", ["", "  ", "\t\n"])
def test_variable_counts_as_unset_when_it_is_empty(tmp_path: Path, blank: str) -> None:
    names = [field.metadata["env"] for field in attrs.fields(Settings) if "env" in field.metadata]
    settings = read(tmp_path, WEBHOOK_PORT=blank, **dict.fromkeys(names, blank))
    assert attrs.evolve(settings, pod_id="", origins={}) == attrs.evolve(read(tmp_path), pod_id="", origins={})
    assert settings.origins["PORT"] == "default"


def test_webhook_port_is_the_short_form_when_no_bind_is_given(tmp_path: Path) -> None:
    assert read(tmp_path, WEBHOOK_PORT="9000").webhook_bind == Bind("127.0.0.1", 9000)
    both = read(tmp_path, WEBHOOK_PORT="9000", WEBHOOK_BIND="[::1]:9001")
    assert both.webhook_bind == Bind("::1", 9001)


def test_webhook_bind_takes_a_unix_socket(tmp_path: Path) -> None:
    bind = read(tmp_path, WEBHOOK_BIND="unix:/run/pods/a.sock").webhook_bind
    assert (bind.unix_path, str(bind)) == ("/run/pods/a.sock", "unix:/run/pods/a.sock")


def test_public_url_may_be_http_when_it_is_this_machine(tmp_path: Path) -> None:
    assert read(tmp_path, PUBLIC_BASE_URL="http://127.0.0.1:8009/").public_base_url == "http://127.0.0.1:8009"
    assert read(tmp_path, PUBLIC_BASE_URL="https://bank.example/a/").public_base_url == "https://bank.example/a"


def rows(reading: Reading) -> dict[str, SettingRow]:
    return {row.variable: row for row in setting_rows(reading)}


def reading(folder: Path, **environ: str) -> Reading:
    return read_environment(environ, state_folder=folder)


def test_secrets_are_never_shown_when_settings_are_listed_or_printed(tmp_path: Path) -> None:
    read_all = reading(tmp_path, **SECRETS)
    assert read_all.settings.database_url == SECRETS["DATABASE_URL"]
    listed = rows(read_all)
    shown = f"{read_all!r} {listed}"
    for secret in ("key-93481", "pass-93481", "hook-93481"):
        assert secret not in shown
    assert {(listed[name].value, listed[name].origin) for name in SECRETS} == {("********", "environment")}


def test_secrets_that_are_not_set_are_listed_as_empty(tmp_path: Path) -> None:
    listed = rows(reading(tmp_path))
    assert {(listed[name].value, listed[name].origin) for name in SECRETS} == {("", "default")}


def test_listing_tells_where_each_value_came_from_and_what_it_would_be(tmp_path: Path) -> None:
    listed = rows(reading(tmp_path, PORT="0", WEBHOOK_PORT="9000", RECORD_CALLS="on"))
    assert (listed["PORT"].value, listed["PORT"].origin, listed["PORT"].default) == ("0", "environment", "8008")
    assert (listed["WEBHOOK_BIND"].value, listed["WEBHOOK_BIND"].origin) == ("127.0.0.1:9000", "WEBHOOK_PORT")
    assert (listed["RECORD_CALLS"].value, listed["RECORD_CALLS"].default) == ("on", "off")
    assert listed["POD_ID"].origin == str(tmp_path / "pod_id")
    assert all(row.meaning for row in listed.values())


def test_listing_goes_on_behind_each_wrong_value_and_says_what_is_wrong(tmp_path: Path) -> None:
    wrong = {"PORT": "eighty", "CONSOLE_PORT": "x", "WEBHOOK_KEY": "hunter2", "POD_ID": "Pod 1"}
    read_all = reading(tmp_path, **wrong, MAX_CALLS="7")
    listed = rows(read_all)
    assert set(read_all.wrong) == {"PORT", "CONSOLE_BIND", "WEBHOOK_KEY", "POD_ID"}
    assert (listed["MAX_CALLS"].value, listed["MAX_CALLS"].wrong) == ("7", "")
    assert (listed["PORT"].value, listed["PORT"].wrong[:13]) == ("", "PORT='eighty'")
    assert (listed["CONSOLE_BIND"].origin, listed["CONSOLE_BIND"].wrong[:17]) == ("CONSOLE_PORT", "CONSOLE_PORT='x' ")
    assert listed["WEBHOOK_KEY"].wrong.startswith("WEBHOOK_KEY is too weak")
    assert "hunter2" not in str(listed)
    assert read_all.settings.port == 8008


def test_listing_as_json_has_null_for_what_is_not_there(tmp_path: Path) -> None:
    row = row_as_json(rows(reading(tmp_path))["TUNNEL_URL"])
    assert (row["variable"], row["value"], row["default"], row["wrong"]) == ("TUNNEL_URL", None, None, None)


def test_pod_id_is_kept_when_the_process_starts_again(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    first = read(folder).pod_id
    assert 1 <= len(first) <= 40
    assert set(first) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert read(folder).pod_id == first
    assert read(folder, POD_ID="given").pod_id == "given"
    assert read(folder).pod_id == first


def test_pod_id_is_made_anew_when_the_kept_one_is_unusable(tmp_path: Path) -> None:
    (tmp_path / "pod_id").write_text("../../etc")
    made = read(tmp_path).pod_id
    assert made != "../../etc"
    assert read(tmp_path).pod_id == made


def test_pod_id_is_made_anew_when_the_kept_file_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "pod_id").write_bytes(b"\xff\xfe\x00")
    assert read(tmp_path).pod_id


def test_pod_id_is_made_when_the_folder_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert read(tmp_path / "file" / "runs").pod_id


def test_serving_needs_a_key(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^VAPI_API_KEY is not set"):
        read(tmp_path).require_vapi()
    read(tmp_path, VAPI_API_KEY="k").require_vapi()
