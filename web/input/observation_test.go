package input

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/seed91453169/tocsin/dbmodel"
)

func benchmarkLine(i int) string {
	return fmt.Sprintf(`{"id": %d, "product_id": %d, "title": "CVE-2021-%d in libcrypto", "severity": "Medium", "status": "Open", "priority": null, "parser_type": "SCA"}`, i, i%7+1, i)
}

// BenchmarkReadLine is one line of an import, decoded and validated.
func BenchmarkReadLine(b *testing.B) {
	line := []byte(benchmarkLine(12345))
	dec := jsontext.NewDecoder(bytes.NewReader(nil), observationOptions...)
	text := bytes.NewReader(nil)
	b.ReportAllocs()
	for b.Loop() {
		var o dbmodel.Observation
		text.Reset(line)
		dec.Reset(text, observationOptions...)
		if p := readLine(dec, &o); p != nil {
			b.Fatal(p)
		}
	}
}

// BenchmarkReadObservations is a JSON body of 1,000.
func BenchmarkReadObservations(b *testing.B) {
	var body bytes.Buffer
	body.WriteString(`{"observations":[`)
	for i := range 1000 {
		if i > 0 {
			body.WriteByte(',')
		}
		body.WriteString(benchmarkLine(i + 1))
	}
	body.WriteString(`]}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ReadObservations(bytes.NewReader(body.Bytes())); err != nil {
			b.Fatal(err)
		}
	}
}
