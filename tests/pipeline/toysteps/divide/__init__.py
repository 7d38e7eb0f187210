from modit.core.step import Step

STEP = Step(name="divide", inputs=("numbers",), outputs=("parts", "leftovers"), decides_domains=True)
