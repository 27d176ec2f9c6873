"""The documentation's reference, written from the code by ``python -m handbook``.

A page that is not what the code says fails ``tests/handbook``, which names this command.
"""
