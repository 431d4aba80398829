"""Parses expressions that combine classes, such as '3 & !8' (3 and not 8)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from drl_tf.base.errors import UserError

if TYPE_CHECKING:
    from drl_tf.config.config import Config

_TOKEN = re.compile(r'[ab]?\d+|[ab]|[&|!()]')
_DEEPEST = 50


class Atom(NamedTuple):
    """The smallest part of an expression: a class of a model, or a whole model.

    Attributes:
      model: 0 for model a, or if there is only one model; 1 for model b.
      label: the class, from 0; -1 for the density of the model without a class.
    """

    model: int
    label: int


class Node(NamedTuple):
    """An operator of an expression, with its operands.

    Attributes:
      operator: '&' (and), '|' (or) or '!' (not).
      parts: the operands, each an `Atom` or a `Node`: one for '!', two or more for the others.
    """

    operator: str
    parts: tuple


Expression = Atom | Node


def parse(text: str) -> Expression:
    """Parses an expression, such as '3 & !8', over classes of one model or over two models.

    The operands are classes (3), models (a, b) or classes of a model (a3). The operators are & (and), | (or)
    and ! (not), with brackets. ! binds tighter than &, and & tighter than |.

    Returns:
      The syntax tree: an `Atom`, or a `Node` with an operator and its operands.

    Raises:
      UserError: the text is no such expression; the message names the first character that does not fit.

    Examples:
      >>> parse('3 & !8')
      Node(operator='&', parts=(Atom(model=0, label=3), Node(operator='!', parts=(Atom(model=0, label=8),))))
    """
    return _Reader(text).whole()


def atoms(expression: Expression) -> list[Atom]:
    """Returns the classes and models (atoms) in an expression, from left to right, each once.

    Examples:
      >>> atoms(parse('3 & (3 | 8)'))
      [Atom(model=0, label=3), Atom(model=0, label=8)]
    """
    if isinstance(expression, Atom):
        return [expression]
    return list(dict.fromkeys(atom for part in expression.parts for atom in atoms(part)))


def weights(expression: Expression) -> dict[int, float] | None:
    """Returns the weight of each class, if an expression stands for a weighted sum of log densities.

    Args:
      expression: the syntax tree, from `parse`.

    Returns:
      {class: weight}: 1 for a class, -1 for a negated class, summed if the class occurs more than once. None
      if the expression contains |, a whole model such as 'a', or a class of a second model such as 'b3'.

    Examples:
      >>> weights(parse('3 & !8')), weights(parse('3 | 8'))
      ({3: 1.0, 8: -1.0}, None)
    """
    if isinstance(expression, Atom):
        return {expression.label: 1.0} if expression.model == 0 and expression.label >= 0 else None
    if expression.operator == '|':
        return None
    sign = -1.0 if expression.operator == '!' else 1.0
    total: dict[int, float] = {}
    for part in expression.parts:
        found = weights(part)
        if found is None:
            return None
        for label, weight in found.items():
            total[label] = total.get(label, 0.0) + sign * weight
    return total


def has_or(expression: Expression) -> bool:
    """Returns whether an expression, from `parse`, contains the operator | (or).

    Examples:
      >>> has_or(parse('3 & (8 | 5)')), has_or(parse('3 & !8'))
      (True, False)
    """
    if isinstance(expression, Atom):
        return False
    return expression.operator == '|' or any(map(has_or, expression.parts))


def compares_classes(expression: Expression) -> bool:
    """Returns whether an expression, from `parse`, has the operator | (or) and a class.

    The heights of the classes are then measured on training images.

    Examples:
      >>> compares_classes(parse('3 | 8')), compares_classes(parse('a | b')), compares_classes(parse('3 & 8'))
      (True, False, False)
    """
    return has_or(expression) and any(atom.label >= 0 for atom in atoms(expression))


def check(text: str, config: Config) -> None:
    """Checks that a model can draw from an expression; raises UserError if not.

    The expression must be over classes that the model has. The operator | (or) needs a model that was
    trained with --energy=preconditioned.

    Args:
      text: the expression, such as '3 & !8'.
      config: configuration of the model.

    Examples:
      >>> from drl_tf.config.config import Config
      >>> check('3 & !8', Config().replace(num_classes=10))
    """
    expression = parse(text)
    for atom in atoms(expression):
        if atom.model or atom.label < 0:
            raise UserError(
                f'--expression={text}: a and b stand for two models: give both, as in --model=digits,digits, '
                'or write classes of this one, such as 3'
            )
        check_class(text, atom, config)
    if has_or(expression) and config.network.energy != 'preconditioned':
        raise UserError(
            f'--expression={text}: | needs normalised log densities, and --energy='
            f'{config.network.energy} leaves log Z of each class and level unknown: use & and !, or a '
            'model of --energy=preconditioned'
        )


def check_class(text: str, atom: Atom, config: Config) -> None:
    """Raises UserError if an operand of an expression is a class that its model does not have.

    Args:
      text: the whole expression, for the error message.
      atom: the operand to check, one of `atoms(parse(text))`. An operand that is a whole model passes.
      config: configuration of the model to which the operand belongs.

    Examples:
      >>> from drl_tf.config.config import Config
      >>> check_class('a3', Atom(model=0, label=3), Config().replace(num_classes=10))
    """
    count = config.data.num_classes
    if atom.label >= count:
        classes = f'{count} classes, from 0' if count else 'no classes'
        raise UserError(f'--expression={text}: the model has {classes}; there is no class {atom.label}')


class _Reader:
    """Reads one expression by recursive descent."""

    def __init__(self, text: str):
        self._text = text
        self._place = 0  # Where the text after the token begins.
        self._begin = 0  # Where the token begins.
        self._depth = 0
        self._token = ''
        self._next()

    def whole(self) -> Expression:
        found = self._chain('|')
        if self._token:
            self._refuse()
        return found

    def _chain(self, sign: str) -> Expression:
        """Parses parts that are joined by `sign`, '&' or '|'; returns a node, or the only part."""
        read = (lambda: self._chain('&')) if sign == '|' else self._part
        parts = [read()]
        while self._token == sign:
            self._next()
            parts.append(read())
        return parts[0] if len(parts) == 1 else Node(sign, tuple(parts))

    def _part(self) -> Expression:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise UserError(
                f'--expression has more than {_DEEPEST} brackets or ! within each other: give a simpler one'
            )
        token = self._token
        if not token or token in '&|)':
            self._refuse()
        self._next()
        if token == '!':
            found: Expression = Node('!', (self._part(),))
        elif token == '(':
            found = self._chain('|')
            if self._token != ')':
                self._refuse()
            self._next()
        else:
            number = token.lstrip('ab')
            found = Atom(int(token[0] == 'b'), int(number) if number else -1)
        self._depth -= 1
        return found

    def _next(self) -> None:
        rest = self._text[self._place :].lstrip()
        self._begin = len(self._text) - len(rest)
        found = _TOKEN.match(rest)
        if not found:
            self._token = ''
            if rest:
                self._refuse()
            return
        self._token = found[0][:9]
        self._place = self._begin + found.end()

    def _refuse(self) -> None:
        raise UserError(
            f'--expression={self._text} is not understood at character {self._begin + 1}: write classes (3), '
            "models (a, b) or classes of a model (a3) with & | ! ( ) between them, such as '3 & !8'"
        )
