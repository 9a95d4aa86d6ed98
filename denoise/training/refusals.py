"""What jsonargparse says of a wrong option, in one sentence."""

from __future__ import annotations

import re

_KEY = re.compile(r'Parser key "([^"]*)":\s*')
_FRAME = re.compile(
    "Does not validate against|Subtypes:|Errors:|Given value|Problem with given class_path"
    "|Expected a <class 'NoneType'>$"
)
_GIVEN = "Given value: "


def wrong_option(message: str) -> str:
    r"""Which option, what it takes and what came, out of a report that names every type on the way there.

    >>> wrong_option('Parser key "trainer.max_steps":\n  Expected a <class \'int\'>. Got value: many')
    '--trainer.max_steps: expected int, got many; `denoise train RECIPE --help` lists what there is.'
    """
    lines = [line.strip().removeprefix("- ") for line in message.splitlines()]
    option = ".".join(key for line in lines for key in _KEY.findall(line))
    causes = [_readable(_KEY.sub("", line)) for line in lines if not _FRAME.match(line)]
    reason = "; ".join(dict.fromkeys(cause for cause in causes if cause)) or "it does not fit"
    given = next((line.removeprefix(_GIVEN) for line in lines if line.startswith(_GIVEN)), "")
    if given == "None" and ", got " not in reason:  # jsonargparse takes it for a word, not so in a file
        reason += ", got null, which can only be given in the recipe"
    where = f"--{option}: " if option else ""
    return f"{where}{reason.rstrip('.')}; `denoise train RECIPE --help` lists what there is."


def _readable(cause: str) -> str:
    cause = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", cause)
    cause = re.sub(r"typing\.Literal\[(.*?)\]", r"one of \1", cause)
    return cause.replace("Expected a ", "expected ").replace(". Got value: ", ", got ")
