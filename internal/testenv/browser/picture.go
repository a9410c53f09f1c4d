package browser

import (
	"bytes"
	"cmp"
	"errors"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"os"
	"path/filepath"
	"slices"

	"github.com/chromedp/chromedp"
)

// Picture writes what the window shows as name.png into the folder that TOCSIN_SCREENSHOTS names; without it, it does
// nothing.
func (b *Tab) Picture(name string) {
	b.t.Helper()
	folder := os.Getenv("TOCSIN_SCREENSHOTS")
	if folder == "" {
		return
	}
	shot, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Fatal(err)
	}
	small, err := smaller(shot)
	file := filepath.Join(folder, name+".png")
	if err := errors.Join(err, os.MkdirAll(folder, 0o755), os.WriteFile(file, small, 0o644)); err != nil {
		b.t.Fatal(err)
	}
}

// smaller is a picture with a palette: its most frequent colours, then one of each shade that is not like them. Of a
// page with flat colours nobody sees the difference.
func smaller(shot []byte) ([]byte, error) {
	img, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		return nil, err
	}
	counts := map[color.RGBA]int{}
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			counts[color.RGBAModel.Convert(img.At(x, y)).(color.RGBA)]++
		}
	}
	colours := make([]color.RGBA, 0, len(counts))
	for c := range counts {
		colours = append(colours, c)
	}
	slices.SortFunc(colours, func(a, b color.RGBA) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B))
	})
	const all, frequent = 256, 128
	var palette color.Palette
	shades := map[[3]uint8]bool{}
	for _, c := range colours {
		shade := [3]uint8{c.R >> 4, c.G >> 4, c.B >> 4}
		if len(palette) < frequent || len(palette) < all && !shades[shade] {
			palette = append(palette, c)
			shades[shade] = true
		}
	}
	out := image.NewPaletted(img.Bounds(), palette)
	draw.Draw(out, out.Bounds(), img, img.Bounds().Min, draw.Src)
	var w bytes.Buffer
	err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&w, out)
	return w.Bytes(), err
}
