// Records of DNS, from the lines of a zone file that the edge gives.
import { describe, expect, it } from "vitest";
import { recordOf, recordsOf } from "../src/dns_record.ts";

describe("a record of DNS", () => {
  it("has the parts that a form asks for", () => {
    expect(recordOf('www.example.org. 3600 IN HTTPS 1 . alpn="h3,h2"')).toEqual({
      line: 'www.example.org. 3600 IN HTTPS 1 . alpn="h3,h2"',
      name: "www.example.org.",
      ttl: "3600",
      type: "HTTPS",
      value: '1 . alpn="h3,h2"',
    });
    expect(recordOf("_8443._https.www.example.org. 3600 IN HTTPS 2 www.example.org. alpn=\"h2\"")?.name).toBe("_8443._https.www.example.org.");
  });

  it("of another form is left out", () => {
    for (const line of ["", "www.example.org.", "www.example.org. IN HTTPS 1 .", "www.example.org. 3600 IN HTTPS "]) expect(recordOf(line)).toBeNull();
    expect(recordsOf([{}, { https_records: ["a. 1 IN HTTPS 1 .", "?"] }, { https_records: [] }]).map((record) => record.name)).toEqual(["a."]);
  });
});
