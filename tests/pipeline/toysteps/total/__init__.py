from modit.core.step import Step

STEP = Step(name="total", inputs=("grown",), outputs=("sum",))
