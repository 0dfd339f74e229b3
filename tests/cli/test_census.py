import sysconfig
from pathlib import Path

from woolexec.cli.census import KEPT, find_sources, measure

SOURCE = """\
class A:
    def one(self, x):
        if x and x > 1 or x < -1:
            return [y for y in x if y]
        for y in x:
            assert y
        return x if x else None

    async def two(self):
        async for _ in self:
            pass


def three():
    def four():
        match three:
            case 1:
                pass
            case _:
                pass
    return four
"""


def write(folder, source, name="sample.py"):
    (folder / name).write_bytes(source if isinstance(source, bytes) else source.encode())
    return measure(str(folder), name)


def test_counts_lines_functions_and_classes(tmp_path):
    measured = write(tmp_path, SOURCE)
    assert (measured.lines, measured.functions, measured.classes) == (21, 4, 1)


def test_complexity_is_one_a_function_and_one_a_branch(tmp_path):
    # 4 functions; if, and, or, comprehension, for, assert, if-else, async for, two cases
    assert write(tmp_path, SOURCE).complexity == 4 + 10


def test_longest_functions_come_first_and_few_are_kept(tmp_path):
    measured = write(tmp_path, SOURCE)
    assert [(one.name, one.lines, one.line) for one in measured.longest] == [
        ("three", 8, 14),
        ("one", 6, 2),
        ("four", 6, 15),
        ("two", 3, 9),
    ]
    many = write(tmp_path, "def f(): pass\n" * 20)
    assert len(many.longest) == KEPT


def test_file_that_does_not_parse_says_so(tmp_path):
    measured = write(tmp_path, "print 'Python 2'\n")
    assert measured.error.startswith("SyntaxError")
    assert (measured.lines, measured.functions) == (1, 0)


def test_last_line_counts_without_its_end_and_an_empty_file_has_none(tmp_path):
    assert write(tmp_path, "a = 1\nb = 2").lines == 2
    assert write(tmp_path, "").lines == 0


def test_encoding_of_the_file_is_obeyed(tmp_path):
    assert write(tmp_path, b"# coding: latin-1\ndef \xe9t\xe9(): pass\n").longest[0].name == "\xe9t\xe9"


def test_a_warning_of_the_parser_is_not_ours(tmp_path):
    assert write(tmp_path, r"'\d'").error is None


def test_installed_packages_are_not_the_library(tmp_path):
    for name in ("b.py", "a.py", "notes.txt", "sub/c.py", "site-packages/d.py", "__pycache__/e.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert find_sources(tmp_path) == ["a.py", "b.py", "sub/c.py"]


def test_the_library_is_found():
    files = find_sources(Path(sysconfig.get_path("stdlib")))
    assert {"ast.py", "concurrent/futures/process.py"} <= set(files)
