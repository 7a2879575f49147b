"""Arithmetic of finite fields, and of products of them."""


def prime_powers(n: int) -> list[tuple[int, int]]:
    """The (prime, exponent) of which n, 2 or more, is the product, by ascending prime."""
    found, prime = [], 2
    while n > 1:
        exponent = 0
        while n % prime == 0:
            n, exponent = n // prime, exponent + 1
        if exponent:
            found.append((prime, exponent))
        prime = n if prime * prime > n else prime + 1
    return found


class Field:
    """GF(prime^exponent): the digits of an element, a number, in base `prime` are the coefficients of a polynomial.

    Multiplied modulo the first monic polynomial of which x is a root that generates all elements but 0.
    """

    def __init__(self, prime: int, exponent: int = 1) -> None:
        self.size = prime**exponent
        self._units = [prime**i for i in range(exponent)]
        self._prime = prime
        self._powers = next(powers for tail in range(1, self.size) if (powers := self._generated(tail)))
        self._logarithm = {power: i for i, power in enumerate(self._powers)}

    def add(self, a: int, b: int) -> int:
        """a + b, in 0 ... size - 1 like these."""
        return sum((a // unit + b // unit) % self._prime * unit for unit in self._units)

    def multiply(self, a: int, b: int) -> int:
        """a times b, in 0 ... size - 1 like these."""
        if 0 in (a, b):
            return 0
        return self._powers[(self._logarithm[a] + self._logarithm[b]) % len(self._powers)]

    def _generated(self, tail: int) -> list[int]:
        """The powers of x where x^exponent is `tail`; empty where these are not all elements but 0."""
        powers, power = [1], 1
        while True:
            top, power = divmod(power * self._prime, self.size)
            for _ in range(top):
                power = self.add(power, tail)
            if power == 1:
                return powers if len(powers) == self.size - 1 else []
            if len(powers) == self.size - 1:
                return []
            powers.append(power)


class Ring:
    """The product of the fields whose sizes are the prime powers of `size`; the numbers 0 ... size - 1.

    Attributes:
        size: number of elements.
        apart: how many elements there are at most whose differences all have an inverse: the smallest field's size.
    """

    def __init__(self, size: int) -> None:
        self._fields = [Field(*factor) for factor in prime_powers(size)]
        self.size = size
        self.apart = min(field.size for field in self._fields)

    def line(self, a: int, i: int, j: int) -> int:
        """A_a i + j, of which the elements A_0, A_1, ... (`apart` of them) have differences with an inverse."""
        value, unit = 0, 1
        for field in self._fields:
            value += unit * field.add(field.multiply(a, i % field.size), j % field.size)
            i, j, unit = i // field.size, j // field.size, unit * field.size
        return value
