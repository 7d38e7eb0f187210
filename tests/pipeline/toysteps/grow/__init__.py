from modit.core.step import Step

STEP = Step(name="grow", inputs=("parts",), outputs=("grown",), params=("pretrain",), per_domain=True)
