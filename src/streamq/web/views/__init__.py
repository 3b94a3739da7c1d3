"""SAYS what pages say: pure functions from facts to sentences, ages, shapes. No I/O, no clock, no template."""
