"""The library imports without its optional parts, and the console command starts without the heavy ones."""

import json
import subprocess
import sys

OPTIONAL = ("sympy", "matplotlib", "pytest", "hypothesis", "transformers", "gguf", "dask")
HEAVY = (*OPTIONAL, "torch", "numpy", "scipy", "sklearn", "jinja2")

BLOCK = """
import importlib, json, pkgutil, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ModuleNotFoundError("blocked " + name, name=name)

sys.meta_path.insert(0, Blocker())
import rctheory
names = [module.name for module in pkgutil.walk_packages(rctheory.__path__, "rctheory.")]
names.remove("rctheory.__main__")  # importing it runs the command
for name in names:
    importlib.import_module(name)
print(json.dumps(names))
"""


def python(code: str) -> str:
    """Run code in a fresh interpreter and return what it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_imports_without_the_optional_parts():
    names = json.loads(python(BLOCK.replace("{blocked}", repr(set(OPTIONAL)))))
    assert {"rctheory.cli", "rctheory.report.pages", "rctheory.suite.runner", "rctheory.numerics"} <= set(names)


def test_the_console_command_starts_light():
    code = f"import sys; import rctheory.cli; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert python(code).strip() == "[]"
