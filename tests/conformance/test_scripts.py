"""Interpreter exit with an executor, and scripts of every kind, each in a separate process."""

from .subject import run_script


def test_interpreter_waits_for_pending_calls():
    done = run_script("""
        import os, time

        def slow(text):
            time.sleep(0.3)
            os.write(1, f"{text}\\n".encode())

        if __name__ == "__main__":
            pool = Executor(2)
            for text in ("apple", "pear", "plum"):
                pool.submit(slow, text)
    """)
    assert sorted(done.stdout.split()) == ["apple", "pear", "plum"]
    assert (done.stderr, done.returncode) == ("", 0)


def test_interpreter_waits_after_shutdown_without_wait():
    done = run_script("""
        import time

        def slow():
            time.sleep(0.3)
            print("apple", flush=True)

        if __name__ == "__main__":
            pool = Executor(2)
            pool.submit(slow)
            pool.shutdown(wait=False)
    """)
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("apple", "", 0)


def test_shutdown_without_wait_that_cancels_lets_the_interpreter_end():
    done = run_script("""
        import atexit, time

        if __name__ == "__main__":
            pool = Executor(1)
            futures = [pool.submit(time.sleep, 0.1) for _ in range(100)]
            pool.shutdown(wait=False, cancel_futures=True)
            atexit.register(lambda: print(sum(future.cancelled() for future in futures) > 50))
    """)
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("True", "", 0)


def test_submit_after_interpreter_shutdown_raises():
    done = run_script("""
        import atexit

        @atexit.register
        def run_last():
            try:
                pool.submit(id, None)
            except RuntimeError as exc:
                print("RuntimeError:", exc)

        if __name__ == "__main__":
            pool = Executor(1)
            pool.submit(id, 42).result()
    """)
    assert done.stdout.startswith("RuntimeError: cannot schedule new futures after")
    assert (done.stderr, done.returncode) == ("", 0)


def test_unused_executor_lets_the_interpreter_end():
    done = run_script("pool = Executor(2)")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_abandoned_executor_lets_the_interpreter_end():
    done = run_script("""
        if __name__ == "__main__":
            Executor(2).submit(print, "apple", flush=True)
    """)
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("apple", "", 0)


def test_exit_code_of_a_script_is_its_own():
    done = run_script("""
        import sys

        if __name__ == "__main__":
            pool = Executor(2)
            pool.submit(id, 42).result()
            sys.exit(3)
    """)
    assert (done.stderr, done.returncode) == ("", 3)


def test_unhandled_exception_ends_the_script_after_the_pending_calls():
    done = run_script("""
        import time

        if __name__ == "__main__":
            pool = Executor(2)
            pool.submit(time.sleep, 0.2)
            raise LookupError("unhandled")
    """)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("LookupError: unhandled")


def test_executor_used_in_a_thread_lets_the_interpreter_end():
    done = run_script("""
        import threading

        def work():
            future = pool.submit(pow, 2, 8)
            submitted.set()
            print(future.result(), flush=True)

        if __name__ == "__main__":
            pool = Executor(2)
            submitted = threading.Event()
            threading.Thread(target=work).start()
            submitted.wait()  # once the script has ended the standard library's pool takes nothing either
    """)
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("256", "", 0)
