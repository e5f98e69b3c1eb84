// Records of DNS, which the edge gives as lines of a zone file, in the parts that forms of DNS providers ask for.

export interface DnsRecord {
  line: string;
  name: string;
  ttl: string;
  type: string;
  value: string;
}

/** The parts of a line; `null` if it is of no form that is known. */
export function recordOf(line: string): DnsRecord | null {
  const [, name = "", ttl = "", type = "", value = ""] = /^(\S+) (\d+) IN ([A-Z]+) (\S.*)$/.exec(line) ?? [];
  return name ? { line, name, ttl, type, value } : null;
}

/** The records of a list of hostnames, in its order. */
export function recordsOf(hosts: { https_records?: string[] }[]): DnsRecord[] {
  return hosts.flatMap((host) => host.https_records ?? []).flatMap((line) => recordOf(line) ?? []);
}
