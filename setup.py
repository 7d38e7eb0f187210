"""The wheel has what `modit.train` runs beside the library: the steps, their parameters and the feature repository."""

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py


class BuildWithSteps(build_py):
    """Copies what lies beside the packages of the steps in a checkout."""

    def run(self) -> None:
        """Builds."""
        super().run()
        if not self.editable_mode:
            self.copy_file("params.yaml", f"{self.build_lib}/components/params.yaml")
            self.copy_tree("feature_repo", f"{self.build_lib}/feature_repo")


setup(
    cmdclass={"build_py": BuildWithSteps},
    packages=[*find_packages("src"), *find_packages(include=["components", "components.*"])],
    package_dir={"": "src", "components": "components"},
)
