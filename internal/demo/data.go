package demo

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"

	"github.com/seed91453169/tocsin/client"
)

type product struct {
	ID      int64  `json:"id"`
	Name    string `json:"name"`
	GroupID int64  `json:"product_group_id"`
}

var (
	//go:embed data/observations.ndjson
	observationsFile []byte
	//go:embed data/products.json
	productsFile []byte
)

// sample reads the embedded data.
func sample() ([]product, []client.ObservationBody, error) {
	var products []product
	if err := json.Unmarshal(productsFile, &products); err != nil {
		return nil, nil, fmt.Errorf("sample products: %w", err)
	}
	byID := make(map[int64]product, len(products))
	for _, p := range products {
		byID[p.ID] = p
	}
	var list []client.ObservationBody
	for lines := bufio.NewScanner(bytes.NewReader(observationsFile)); lines.Scan(); {
		var o client.ObservationBody
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return nil, nil, fmt.Errorf("sample observation %d: %w", len(list)+1, err)
		}
		if p := byID[o.ProductID]; p.GroupID == images {
			o.Origin = &client.Origin{Image: p.Name}
		}
		list = append(list, o)
	}
	return products, list, nil
}
