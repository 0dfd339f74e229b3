import argparse
import os

import pytest

from woolexec.cli.settings import Setting, SettingError, gather, pair, port_or_address, positive, seconds

SETTINGS = (
    Setting("workers", "", positive, 7, "N"),
    Setting("drain-timeout", "", seconds, 1.5, "SECONDS"),
    Setting("insecure", "", default=False, metavar=None),
    Setting("tag", "", pair, (), "KEY=VALUE", many=True),
    Setting("name", "", default="nobody"),
)


def parsed(*arguments):
    parser = argparse.ArgumentParser()
    for setting in SETTINGS:
        setting.add_to(parser)
    parser.add_argument("--config")
    return parser.parse_args(arguments)


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "settings.toml"
        path.write_text(text)
        return str(path)

    return write


def test_defaults_hold_where_nothing_is_said():
    assert gather(SETTINGS, parsed(), {}) == {
        "workers": 7,
        "drain-timeout": 1.5,
        "insecure": False,
        "tag": (),
        "name": "nobody",
    }


def test_argument_wins_over_environment_over_file_over_default(file):
    path = file('workers = 1\nname = "file"\ndrain-timeout = 9\n')
    environment = {"WOOLEXEC_WORKERS": "2", "WOOLEXEC_NAME": "environment", "PATH": "/bin"}
    values = gather(SETTINGS, parsed("--config", path, "--workers", "3"), environment)
    assert (values["workers"], values["name"], values["drain-timeout"]) == (3, "environment", 9.0)
    assert values["insecure"] is False


def test_environment_may_name_the_file(file):
    assert gather(SETTINGS, parsed(), {"WOOLEXEC_CONFIG": file("workers = 4")})["workers"] == 4


def test_flags_and_lists_are_read_from_each_source(file):
    path = file('insecure = true\ntag = ["a=1", "b=2"]\n')
    assert gather(SETTINGS, parsed("--insecure", "--tag", "a=1", "--tag", "b=2"), {})["tag"] == ["a=1", "b=2"]
    values = gather(SETTINGS, parsed("--config", path), {})
    assert (values["insecure"], values["tag"]) == (True, ["a=1", "b=2"])
    values = gather(SETTINGS, parsed(), {"WOOLEXEC_INSECURE": "yes", "WOOLEXEC_TAG": "a=1,b=2"})
    assert (values["insecure"], values["tag"]) == (True, ["a=1", "b=2"])


@pytest.mark.parametrize(
    ("arguments", "environment", "text", "message"),
    [
        (["--workers", "0"], {}, "", "--workers: '0' is not a whole number above 0"),
        (["--drain-timeout", "soon"], {}, "", "--drain-timeout: 'soon' is not a number of seconds"),
        (["--tag", "gpu"], {}, "", "--tag: 'gpu' is not key=value"),
        ([], {"WOOLEXEC_WORKERS": "many"}, "", "WOOLEXEC_WORKERS: 'many'"),
        ([], {"WOOLEXEC_INSECURE": "perhaps"}, "", "must be yes or no, not 'perhaps'"),
        ([], {"WOOLEXEC_WORKER": "2"}, "", "unknown setting WOOLEXEC_WORKER"),
        ([], {}, "worker = 2", "unknown setting 'worker'; known settings: drain-timeout"),
        ([], {}, "workers = [2]", "workers: \\[2\\] is not N"),
        ([], {}, "workers = true", "workers: True is not N"),
        ([], {}, "workers =", "settings.toml: "),
        ([], {}, 'tag = ["a=\\u0000"]', "settings.toml: tag: 'a=.x00' contains a null character"),
        ([], {}, "#" * (1 << 20) + "\n", "it has more than 1048576 bytes"),
    ],
)
def test_what_makes_no_sense_is_an_error_that_names_it(arguments, environment, text, message, file):
    with pytest.raises(SettingError, match=message):
        gather(SETTINGS, parsed(*arguments, "--config", file(text)), environment)


def test_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(SettingError, match="No such file"):
        gather(SETTINGS, parsed("--config", str(tmp_path / "none.toml")), {})


def test_file_that_is_a_pipe_is_an_error(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SettingError, match="pipe: it is not a regular file"):
        gather(SETTINGS, parsed("--config", str(tmp_path / "pipe")), {})


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
@pytest.mark.parametrize("empty", ["", " "])
def test_empty_setting_is_an_error_in_each_source(setting, empty, file):
    sources = [([], {setting.variable: empty}, ""), ([], {}, f'{setting.name} = "{empty}"')]
    if setting.metavar is not None:
        sources.append(([f"--{setting.name}", empty], {}, ""))
    if setting.many:
        sources += [([], {}, f"{setting.name} = []"), ([], {}, f'{setting.name} = ["{empty}"]')]
    for arguments, environment, text in sources:
        with pytest.raises(SettingError, match="is empty: give it a value, or leave it out"):
            gather(SETTINGS, parsed(*arguments, "--config", file(text)), environment)


def test_empty_name_of_the_file_is_an_error():
    for arguments, environment in ((["--config", ""], {}), ([], {"WOOLEXEC_CONFIG": ""})):
        with pytest.raises(SettingError, match=r"CONFIG is empty|--config is empty"):
            gather(SETTINGS, parsed(*arguments), environment)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9100", ("127.0.0.1", 9100)),
        ("0", ("127.0.0.1", 0)),
        ("0.0.0.0:9100", ("0.0.0.0", 9100)),
        ("node7:1", ("node7", 1)),
        ("[::1]:9100", ("::1", 9100)),
    ],
)
def test_a_port_alone_is_one_of_the_loopback_address(text, address):
    assert port_or_address(text) == address


@pytest.mark.parametrize("text", ["", "node7", "node7:", ":9100", "65536", "node7:65536", "-1", "9100x", "²"])
def test_what_is_neither_a_port_nor_an_address_is_an_error(text):
    with pytest.raises(ValueError, match="host:port"):
        port_or_address(text)
