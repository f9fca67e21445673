"""Faults planted in our own agent, one at a time: what the shipped scenarios and their checks are worth.

``defects*.py`` hold the faults, by the room that they spoil; ``measure.py`` holds the scenarios with each of them, and
every scenario without any. A check that no fault can make fail proves nothing; one that fails on a sound agent proves
less.
"""
