from modit.core.step import Step

STEP = Step(name="read", outputs=("numbers",), reads_catalogue=True)
