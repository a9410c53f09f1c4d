// Command trivy reports a JSON report of Trivy from standard input as the observations of a product, for instance in a
// CI job:
//
//	trivy image --format json payments:1.4 | trivy 1
//
// The address of Tocsin is in TOCSIN_URL, a token of the scope ingest in TOCSIN_TOKEN.
package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log"
	"os"
	"strconv"

	"github.com/seed91453169/tocsin/client"
)

var report struct {
	ArtifactName string
	Results      []struct {
		Target          string
		Vulnerabilities []struct{ VulnerabilityID, PkgName, FixedVersion, Severity, PrimaryURL string }
	}
}

var severities = map[string]client.Severity{
	"CRITICAL": client.SeverityCritical, "HIGH": client.SeverityHigh, "MEDIUM": client.SeverityMedium, "LOW": client.SeverityLow,
}

func observations(product int64) iter.Seq[client.ObservationBody] {
	return func(yield func(client.ObservationBody) bool) {
		for _, result := range report.Results {
			for _, v := range result.Vulnerabilities {
				key := sha256.Sum256(fmt.Appendf(nil, "%d\n%s\n%s\n%s", product, result.Target, v.PkgName, v.VulnerabilityID))
				if !yield(client.ObservationBody{
					ID:        int64(binary.BigEndian.Uint64(key[:])%(1<<53-1)) + 1, // of the same finding always the same
					ProductID: product, Title: v.VulnerabilityID, VulnerabilityID: &v.VulnerabilityID, FixedVersion: &v.FixedVersion,
					Severity: cmp.Or(severities[v.Severity], client.SeverityUnknown), Status: client.ObservationStatusOpen,
					ParserType: client.ParserTypeSCA, Origin: &client.Origin{Component: v.PkgName, Image: report.ArtifactName},
					URL: &v.PrimaryURL, Scanner: new("Trivy"),
				}) {
					return
				}
			}
		}
	}
}

func main() {
	product, err := strconv.ParseInt(os.Args[len(os.Args)-1], 10, 64)
	if err = errors.Join(err, json.NewDecoder(os.Stdin).Decode(&report)); err != nil {
		log.Fatal("usage: trivy PRODUCT <report.json: ", err)
	}
	tocsin := client.Client{Base: os.Getenv("TOCSIN_URL"), Token: os.Getenv("TOCSIN_TOKEN")}
	accepted, err := tocsin.ImportObservations(context.Background(), observations(product), false)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%+v\n", accepted)
}
