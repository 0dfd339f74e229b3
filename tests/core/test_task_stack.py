import json

from woolexec import Stacks, TaskStack

ONE = TaskStack(7, "work", 1.5, "node", 42, '  File "/a.py", line 1, in work')


def test_text_of_a_stack_says_what_runs_where_and_since_when():
    assert str(ONE) == 'work (task 7), running for 1.500 s in worker 42 on node\n  File "/a.py", line 1, in work'


def test_text_says_why_there_is_no_stack_and_whose_task_it_is():
    other = TaskStack(7, "work", 1.5, "node", 42, note="its worker has just ended", peer="h:1", client="host:3 (token)")

    assert str(other) == (
        "work (task 7), running for 1.500 s in worker 42 on node (peer at h:1), of host:3 (token); "
        "its worker has just ended"
    )


def test_several_stacks_are_one_text():
    assert str(Stacks([ONE, ONE])) == f"{ONE}\n\n{ONE}"
    assert str(Stacks()) == "no task is running"


def test_stacks_can_be_written_as_json():
    (found,) = json.loads(json.dumps(Stacks([ONE]).as_dict()))

    assert TaskStack(**found) == ONE
