"""The two ways in which a run ends on purpose, each with a message for the user and an exit code."""


class UserError(Exception):
    """Something the user can put right: one line naming the thing, its value and what to do."""

    exit_code = 2


class DivergenceError(Exception):
    """The loss is not finite or ran away: the message names the step, the last good checkpoint and advice."""

    exit_code = 3
