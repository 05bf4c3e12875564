"""What the end of an error stream tells."""

import pytest

from runyard.domain.signs import LONGEST_LINE, read

TRACEBACK = 'Traceback (most recent call last):\n  File "train.py", line 3, in <module>\n    main()\n'

LOGS = {
    "ModuleNotFoundError: No module named 'sklearn'": "missing_package",
    "ImportError: cannot import name 'Trainer'": "missing_package",
    "train.sh: line 3: nvidia-smi: command not found": "missing_package",
    "python: error while loading shared libraries: libcudart.so.12: cannot open shared object file: "
    "No such file or directory": "missing_package",
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.": "gpu_out_of_memory",
    "torch.cuda.OutOfMemoryError: CUDA out of memory.": "gpu_out_of_memory",
    "RuntimeError: CUDA error: out of memory": "gpu_out_of_memory",
    "jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying": "gpu_out_of_memory",
    "MemoryError": "out_of_memory",
    "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 7.28 TiB": "out_of_memory",
    "RuntimeError: [enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory": "out_of_memory",
    "OSError: [Errno 12] Cannot allocate memory": "out_of_memory",
    "OSError: [Errno 28] No space left on device": "disk_full",
    "safetensors_rust.SafetensorError: Error while serializing: I/O error: File too large (os error 28)": "disk_full",
    "FileNotFoundError: [Errno 2] No such file or directory: 'data.csv'": "missing_file",
    "python3: can't open file '/tmp/train.py': [Errno 2] No such file or directory": "missing_file",
    "cat: data.csv: No such file or directory": "missing_file",
    "OSError: foo/bar is not a local folder and is not a valid model identifier listed on the hub": "model_not_found",
    "pandas.errors.ParserError: Error tokenizing data. C error: Expected 3 fields in line 4, saw 5": "bad_data",
    "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in position 0": "bad_data",
    "ValueError: loss is nan, stopping training": "loss_not_finite",
    "RuntimeError: Function 'MulBackward0' returned nan values in its 0th output.": "loss_not_finite",
    "could not start ./train.sh: [Errno 13] Permission denied": "not_started",
    "ValueError: batch size must be positive": None,
    "KeyboardInterrupt": None,
    "Segmentation fault": None,
}


@pytest.mark.parametrize("line", LOGS)
def test_signs(line: str) -> None:
    assert read(f"{TRACEBACK}{line}\n\n") == (LOGS[line], line)
    assert read(f"starts\n{line}") == (LOGS[line], line)


def test_an_exception_that_was_caught_before_is_not_the_reason() -> None:
    log = f"{TRACEBACK}ModuleNotFoundError: No module named 'apex'\ngoing on without\n{TRACEBACK}KeyError: 'loss'\n"
    assert read(log) == (None, "KeyError: 'loss'")


def test_an_exception_that_only_reports_another_is_looked_through() -> None:
    log = f"{TRACEBACK}MemoryError\n{TRACEBACK}subprocess.CalledProcessError: Command 'train' returned 1\n"
    assert read(log) == ("out_of_memory", "MemoryError")


def test_a_message_of_several_lines_is_read_whole() -> None:
    log = f"{TRACEBACK}RuntimeError: worker 3 failed:\n  CUDA out of memory in layer 7\n"
    assert read(log) == ("gpu_out_of_memory", "CUDA out of memory in layer 7")


def test_words_of_any_kind_are_no_trouble() -> None:
    assert read("") == read("\n \0\n") == (None, "")
    assert read("x" * 10_000) == (None, "x" * LONGEST_LINE)
