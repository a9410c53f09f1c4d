"""Reports a JSON report of Trivy from standard input as the observations of a product, for instance in a CI job:

    trivy image --format json payments:1.4 | python3 trivy.py 1

The address of Tocsin is in TOCSIN_URL, a token of the scope ingest in TOCSIN_TOKEN.
"""

import hashlib
import json
import os
import sys

from tocsin import Tocsin

SEVERITIES = {"CRITICAL": "Critical", "HIGH": "High", "MEDIUM": "Medium", "LOW": "Low"}


def observations(report, product_id):
    for result in report.get("Results") or []:
        for v in result.get("Vulnerabilities") or []:
            key = "\n".join([str(product_id), result["Target"], v["PkgName"], v["VulnerabilityID"]])
            yield {
                "id": int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % (2**53 - 1) + 1,  # always the same
                "product_id": product_id,
                "title": v["VulnerabilityID"],
                "severity": SEVERITIES.get(v.get("Severity"), "Unknown"),
                "status": "Open",
                "priority": None,
                "parser_type": "SCA",
                "vulnerability_id": v["VulnerabilityID"],
                "fixed_version": v.get("FixedVersion", ""),
                "origin": {"component": v["PkgName"], "image": report.get("ArtifactName", "")},
                "url": v.get("PrimaryURL", ""),
                "scanner": "Trivy",
            }


if __name__ == "__main__":
    tocsin, product, report = Tocsin(os.environ["TOCSIN_URL"], os.environ["TOCSIN_TOKEN"]), int(sys.argv[1]), json.load(sys.stdin)
    print(json.dumps(tocsin.report(lambda: observations(report, product))))
